"""Credentials: logins for relays, and the hosts that each may be used at."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import Response

from app.routing.change import Kind, Subject
from app.routing.errors import Fault, Invalid, Unknown
from app.routing.uses import users_of
from app.server.api import v1
from app.server.api.auth import CredentialWriter, Reader
from app.server.api.pages import Page
from app.server.api.parameters import path
from app.server.api.preconditions import ReadingOf
from app.server.api.problems import responses
from app.server.api.schemas.credential import (
    CredentialIn,
    CredentialOut,
    CredentialPage,
    CredentialUses,
)
from app.server.api.schemas.finding import FindingList
from app.server.api.schemas.texts import Label
from app.server.api.services import Control, Current
from app.server.api.writing import Written
from app.server.live import Snapshot
from app.server.storage import NewSecret, Store

router = v1.router("credentials")

LabelInPath = Annotated[Label, path("label", "Label of a credential.", "acct")]
_ORDER = "credentials"


def subject_of(label: str) -> Subject:
    """The subject that a credential is."""
    return Subject(Kind.CREDENTIAL, label)


def _shown(snapshot: Snapshot, label: str, username: str) -> CredentialOut:
    credential = snapshot.table.credentials[label]
    return CredentialOut.of(credential, username, snapshot.marks[subject_of(label)])


@router.get("/credentials", summary="List credentials")
async def list_credentials(
    _: Reader, services: Control, snapshot: Current, page: Page
) -> CredentialPage:
    """Every credential, by label; never a password."""
    cut = page.cut(_ORDER, {label: label for label in snapshot.table.credentials})
    stored = await services.store.secrets(cut.items)
    # One that was deleted between the two looks is left out.
    items = [_shown(snapshot, secret.label, secret.username) for secret in stored]
    return CredentialPage(items=items, next_cursor=cut.next_cursor)


@router.put(
    "/credentials/{label}",
    summary="Store a credential",
    responses={201: {"model": CredentialOut, "description": "Created"}, **responses(412, 428)},
)
async def put_credential(
    label: LabelInPath, body: CredentialIn, _: CredentialWriter, write: Written
) -> CredentialOut:
    """Store a login and the hosts that it may be used at.

    Without a password the present one stays, as long as the username does.
    """
    secrets = await _secrets(write.services.store, label, body)
    snapshot = await write.put(subject_of(label), lambda _: body.value(label), secrets)
    return _shown(snapshot, label, body.username)


async def _secrets(store: Store, label: str, body: CredentialIn) -> Mapping[str, NewSecret]:
    """The login to store; none where the present one stays.

    Raises:
        Invalid: it has no password, and there is none to keep.
    """
    if isinstance(body.password, str):
        return {label: NewSecret(body.username, body.password)}
    if any(stored.username == body.username for stored in await store.secrets([label])):
        return {}
    detail = "a new label, or a new username, needs a password"
    raise Invalid((Fault("missing", detail, "/password"),))


@router.get("/credentials/{label}", summary="Read a credential", responses=responses(404))
async def get_credential(
    label: LabelInPath, _: Reader, services: Control, snapshot: Current, reading: ReadingOf
) -> CredentialOut:
    """A login, without its password."""
    stored = await services.store.secrets([label])
    if label not in snapshot.table.credentials or not stored:
        raise Unknown("credential")
    reading.tag(subject_of(label))
    return _shown(snapshot, label, stored[0].username)


@router.delete(
    "/credentials/{label}",
    summary="Delete a credential",
    status_code=204,
    response_class=Response,
    responses={
        200: {"model": FindingList, "description": "What a dry run would leave behind"},
        **responses(404, 409, 412, 428),
    },
)
async def delete_credential(label: LabelInPath, _: CredentialWriter, write: Written) -> Response:
    """Delete a login; 409 `in-use` where a relay URL names it."""
    return await write.delete(subject_of(label))


@router.get("/credentials/{label}/uses", summary="Who uses a credential?", responses=responses(404))
async def list_credential_uses(
    label: LabelInPath, _: Reader, snapshot: Current, page: Page
) -> CredentialUses:
    """What names the label in a relay URL: maps, tables, entries and rules."""
    if label not in snapshot.table.credentials:
        raise Unknown("credential")
    users = [str(user) for user in users_of(snapshot.table, subject_of(label))]
    cut = page.cut(f"{_ORDER}/{label}", {user: user for user in users})
    return CredentialUses(items=cut.items, next_cursor=cut.next_cursor)
