"""Findings: what looks wrong with the routing as it is, or as if it were not meant."""

from hashlib import blake2b
from typing import Annotated

from fastapi import Query

from app.routing.check import Finding, Severity
from app.server.api import v1
from app.server.api.auth import Reader
from app.server.api.pages import Key, Page
from app.server.api.schemas.finding import FindingOut, FindingPage
from app.server.api.schemas.texts import Name
from app.server.api.services import Control, Current

router = v1.router("questions")

_ORDER = "findings"
_KEY = (str, str, str, str, str, str)


def _key(found: Finding) -> Key:
    # One rule may be not expressible for two reasons: their sentences tell them apart.
    sentence = blake2b(found.detail.encode(), digest_size=8).hexdigest()
    place = (found.severity.value, found.subject, found.code, found.pointer, found.mta or "")
    return (*place, sentence)


@router.get("/findings", summary="List findings")
async def list_findings(
    _: Reader,
    services: Control,
    snapshot: Current,
    page: Page,
    mta: Annotated[Name | None, Query(description="Only those that concern this MTA.")] = None,
    severity: Annotated[Severity | None, Query(description="Only those.")] = None,
) -> FindingPage:
    """Everything found in the routing, and what each MTA that was heard of cannot do of it."""
    chosen = (
        (_key(found), found)
        for found in await services.findings.of(snapshot.table)
        if mta in {None, found.mta} and severity in {None, found.severity}
    )
    cut = page.among(_ORDER, chosen, *_KEY)
    items = [FindingOut.model_validate(found) for found in cut.items]
    return FindingPage(items=items, next_cursor=cut.next_cursor)
