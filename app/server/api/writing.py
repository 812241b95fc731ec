"""How a write of routing is answered: preconditions, one edit, headers, the push after it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar, cast
from urllib.parse import quote

from fastapi import Depends, Header, Query, Response
from fastapi.exceptions import RequestValidationError
from pydantic import JsonValue, ValidationError

from app.routing.change import KIND_WORDS, Kind, Subject, Value, current, value_document
from app.routing.document import parse_line
from app.routing.errors import Fault, NameTaken, Refused, Unknown
from app.routing.writes import Delete, Put, Write
from app.server.api.auth import Anyone, Principal, Scope
from app.server.api.dry_run import DryRun
from app.server.api.faults import At
from app.server.api.merge_patch import merged
from app.server.api.parameters import PushMode
from app.server.api.preconditions import Conditions, Preconditions, tag_in
from app.server.api.refusals import BadParameter, NameDiffers
from app.server.api.schemas.finding import FindingList, FindingOut
from app.server.api.schemas.model import In
from app.server.api.services import Control, Services
from app.server.api.v1 import PREFIX, Line
from app.server.edit import Edited, Look
from app.server.live import Snapshot
from app.server.push_errors import PushMissed
from app.server.storage import NewSecret

PUSH_WAIT_S = 30.0
Model = TypeVar("Model", bound=In)
Make = Callable[[Value | None], Value]


@dataclass(frozen=True, slots=True)
class Writing:
    """One write of routing, from its preconditions to the headers of its answer."""

    services: Services
    conditions: Conditions
    principal: Principal
    response: Response
    dry_run: bool
    push: bool
    message: str

    async def put(
        self, subject: Subject, value: Make, secrets: Mapping[str, NewSecret] | None = None
    ) -> Snapshot:
        """Create or replace a subject: 201 or 200. `value` is given what it replaces."""

        def plan(snapshot: Snapshot) -> Sequence[Write]:
            self.conditions.check(snapshot, subject)
            return [Put(subject, value(current(snapshot.table, subject)))]

        return await self.run(plan, subject, secrets)

    async def create(self, subject: Subject, value: Value) -> Snapshot:
        """Create a subject: 201, or 409 where it is."""

        def plan(snapshot: Snapshot) -> Sequence[Write]:
            if current(snapshot.table, subject) is not None:
                raise NameTaken(KIND_WORDS[subject.kind])
            self.conditions.check_absent(snapshot)
            return [Put(subject, value)]

        return await self.run(plan, subject)

    async def patch(self, subject: Subject, change: Callable[[JsonValue], Value]) -> Snapshot:
        """Change members of a subject: `change` makes its value from the document as it is."""

        def plan(snapshot: Snapshot) -> Sequence[Write]:
            self.conditions.check(snapshot, subject)
            document = value_document(subject, current(snapshot.table, subject))
            if document is None:
                raise Unknown(KIND_WORDS[subject.kind])
            return [Put(subject, change(cast("JsonValue", document)))]

        return await self.run(plan, subject)

    async def delete(self, subject: Subject) -> Response:
        """Delete a subject: 204, or of a dry run 200 with what it would leave behind."""

        def plan(snapshot: Snapshot) -> Sequence[Write]:
            self.conditions.check(snapshot, subject)
            return [Delete(subject)]

        return await self.delete_by(plan)

    async def delete_by(self, plan: Callable[[Snapshot], Sequence[Write]]) -> Response:
        """Do what a plan says, and answer it as a delete."""
        edited = await self.edit(plan)
        await self.push_if_asked()
        if not self.dry_run:
            return Response(status_code=204, headers=dict(self.response.headers))
        body = FindingList(findings=[FindingOut.model_validate(each) for each in edited.findings])
        return Line(body.model_dump(mode="json"), headers=dict(self.response.headers))

    async def run(
        self,
        plan: Callable[[Snapshot], Sequence[Write]],
        subject: Subject,
        secrets: Mapping[str, NewSecret] | None = None,
        *,
        created: Callable[[Edited], bool] | None = None,
        location: str | None = None,
    ) -> Snapshot:
        """Do what a plan says about a subject, and answer with its tag; 201 where it is new.

        Args:
            plan: as `Editor.edit` takes it.
            subject: whose tag is answered.
            secrets: by label.
            created: whether the edit made what was written, if that is not the subject itself.
            location: of what was written, if that is not the subject itself.
        """
        edited = await self.edit(plan, secrets)
        is_new = created(edited) if created else _is_new(edited, subject)
        if is_new:
            self.response.status_code = 201
        if not self.dry_run:
            if is_new:
                self.response.headers["Location"] = location or location_of(subject)
            tag = tag_in(edited.snapshot, subject)
            if tag is not None:
                self.response.headers["ETag"] = tag
        await self.push_if_asked()
        return edited.snapshot

    async def edit(
        self,
        plan: Callable[[Snapshot], Sequence[Write]],
        secrets: Mapping[str, NewSecret] | None = None,
        look: Look | None = None,
    ) -> Edited:
        """Do what a plan says and note it in the headers; its findings are those of MTAs too."""
        edited = await self.services.editor.edit(
            plan,
            author=self.principal.name,
            message=self.message,
            dry_run=self.dry_run,
            secrets=secrets or {},
            look=look,
        )
        return await self.noted(edited)

    async def noted(self, edited: Edited) -> Edited:
        """Note an edit in the headers; answers it with what MTAs cannot do of it as findings."""
        beside = await self.services.findings.of_mtas(edited.snapshot.table)
        found = (*edited.findings, *beside)
        headers = self.response.headers
        headers["Relay-Revision"] = str(edited.snapshot.revision)
        headers["Relay-Changed"] = "true" if edited.changes else "false"
        headers["Relay-Findings"] = str(len(found))
        return replace(edited, findings=found)

    async def push_if_asked(self) -> None:
        """Push what was written, if that was asked for, and wait for it.

        Raises:
            PushMissed: it did not come to `applied`; the write is made, as its headers say.
        """
        if not self.push or self.dry_run:
            return
        made = await self.services.pushes.push(author=self.principal.name)
        self.response.headers["Relay-Push"] = str(made.id)
        try:
            await self.services.pushes.applied(made.id, PUSH_WAIT_S)
        except PushMissed as missed:
            missed.headers = dict(self.response.headers)
            raise


def _is_new(edited: Edited, subject: Subject) -> bool:
    return any(c.subject == subject and c.before is None for c in edited.changes)


def location_of(subject: Subject) -> str:
    """The path of a subject; the key of an entry is percent-encoded."""
    if subject.kind is Kind.ENTRY:
        key = quote(subject.member, safe="@*")
        return f"{PREFIX}/tables/{subject.name}/entries/{key}"
    return f"{PREFIX}/{subject}"


async def _writing(  # noqa: PLR0913  what the request says, each part in its place
    *,
    response: Response,
    services: Control,
    conditions: Preconditions,
    principal: Anyone,
    dry_run: DryRun,
    push: Annotated[
        PushMode | None,
        Query(description="`wait`: push afterwards, to every MTA, and wait until it is applied."),
    ] = None,
    relay_message: Annotated[
        str | None, Header(alias="Relay-Message", description="Why, for the journal: one line.")
    ] = None,
) -> Writing:
    if push is not None:
        principal.require(Scope.PUSH)
        services.pushes.refuse_no_mta()
    return Writing(
        services=services,
        conditions=conditions,
        principal=principal,
        response=response,
        dry_run=dry_run,
        push=push is not None,
        message=_message(relay_message or ""),
    )


def _message(header: str) -> str:
    try:
        # HTTP hands octets over as Latin-1; people write UTF-8.
        return parse_line(header.encode("latin-1").decode("utf-8"))
    except (Refused, UnicodeError):
        detail = "one line of printable UTF-8 of at most 200 characters"
        found = At("header", Fault("bad-text", detail, "/Relay-Message"))
        raise BadParameter(found) from None


Written = Annotated[Writing, Depends(_writing)]
"""The write that a request asks for."""


def patched(model: type[Model], document: JsonValue, patch: In) -> Model:
    """The body that a patch makes of a document, checked as a whole.

    Raises:
        RequestValidationError: with pointers into the whole.
    """
    change = patch.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return checked(model, merged(document, change))


def checked(model: type[Model], body: JsonValue, *where: str | int) -> Model:
    """A body, checked as if it had been sent alone; `where` is what it stands under.

    Raises:
        RequestValidationError: every fault.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError(
            [{**each, "loc": ("body", *where, *each["loc"])} for each in found],
            body=_under(where, body),
        ) from None


def _under(where: Sequence[str | int], body: JsonValue) -> object:
    """A document in which `body` stands where pointers will look for it."""
    document: object = body
    for part in reversed(where):
        document = {part: document}
    return document


def same_name(given: object, wanted: str, member: str = "name") -> None:
    """Refuse a body that names something else than the path.

    Raises:
        NameDiffers: it does.
    """
    if isinstance(given, str) and given != wanted:
        detail = f"leave {member} out, or write the one of the path"
        raise NameDiffers((Fault("name-differs", detail, f"/{member}"),))
