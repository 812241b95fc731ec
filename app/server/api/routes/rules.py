"""Rules: conditions that an envelope must meet, and the action for those that do."""

from typing import Annotated

from fastapi import Body, Query, Response
from pydantic import JsonValue

from app.routing.change import Kind, Subject
from app.routing.errors import Unknown
from app.routing.rule import Rule
from app.server.api import v1
from app.server.api.auth import Reader, Writer
from app.server.api.pages import Page
from app.server.api.parameters import QueryFlag, path
from app.server.api.preconditions import ReadingOf
from app.server.api.problems import responses
from app.server.api.schemas.finding import FindingList
from app.server.api.schemas.rule import RuleIn, RuleNew, RuleOut, RulePage, RulePatch
from app.server.api.schemas.texts import Name
from app.server.api.services import Control, Current
from app.server.api.writing import Written, patched, same_name
from app.server.findings import Found
from app.server.live import Snapshot

router = v1.router("rules")

RuleName = Annotated[Name, path("rule", "Name of a rule.", "shop-out")]
_ORDER = "rules"


def subject_of(name: str) -> Subject:
    """The subject that a rule is."""
    return Subject(Kind.RULE, name)


def _shown(snapshot: Snapshot, name: str, found: Found) -> RuleOut:
    subject = subject_of(name)
    about = found.get(str(subject), ())
    return RuleOut.of(snapshot.table.rules[name], snapshot.marks[subject], about)


@router.get("/rules", summary="List rules")
async def list_rules(
    _: Reader,
    services: Control,
    snapshot: Current,
    page: Page,
    enabled: Annotated[
        QueryFlag | None, Query(description="Only those that are in force, or are not.")
    ] = None,
) -> RulePage:
    """Every rule, in the order in which they are tried; disabled ones in their places."""
    rules = snapshot.table.rules.values()
    chosen = ((rule.order, rule.name) for rule in rules if enabled in {None, rule.enabled})
    cut = page.among(_ORDER, chosen, int, str)
    found = await services.findings.by_subject(snapshot.table)
    items = [_shown(snapshot, name, found) for name in cut.items]
    return RulePage(items=items, next_cursor=cut.next_cursor)


@router.post("/rules", summary="Create a rule", status_code=201, responses=responses(409, 412))
async def create_rule(body: RuleNew, _: Writer, write: Written) -> RuleOut:
    """Create a rule; 409 `exists` where the name is taken. Automation uses PUT."""
    snapshot = await write.create(subject_of(body.name), body.value(body.name))
    found = await write.services.findings.by_subject(snapshot.table)
    return _shown(snapshot, body.name, found)


@router.put(
    "/rules/{rule}",
    summary="Create or replace a rule",
    responses={201: {"model": RuleOut, "description": "Created"}, **responses(412, 428)},
)
async def put_rule(name: RuleName, body: RuleIn, _: Writer, write: Written) -> RuleOut:
    """Create a rule or replace it whole; it keeps its id."""
    same_name(body.name, name)
    snapshot = await write.put(subject_of(name), lambda _: body.value(name))
    found = await write.services.findings.by_subject(snapshot.table)
    return _shown(snapshot, name, found)


@router.get("/rules/{rule}", summary="Read a rule", responses=responses(404))
async def get_rule(
    name: RuleName, _: Reader, services: Control, snapshot: Current, reading: ReadingOf
) -> RuleOut:
    """A rule, and what looks wrong with it."""
    if name not in snapshot.table.rules:
        raise Unknown("rule")
    reading.tag(subject_of(name))
    found = await services.findings.by_subject(snapshot.table)
    return _shown(snapshot, name, found)


@router.patch("/rules/{rule}", summary="Change a rule", responses=responses(404, 412, 428))
async def patch_rule(
    name: RuleName,
    body: Annotated[RulePatch, Body(media_type="application/merge-patch+json")],
    _: Writer,
    write: Written,
) -> RuleOut:
    """Change members of a rule (RFC 7396); a new `kind` drops the action's other members."""
    same_name(body.name, name)

    def change(document: JsonValue) -> Rule:
        return patched(RuleIn, document, body).value(name)

    snapshot = await write.patch(subject_of(name), change)
    found = await write.services.findings.by_subject(snapshot.table)
    return _shown(snapshot, name, found)


@router.delete(
    "/rules/{rule}",
    summary="Delete a rule",
    status_code=204,
    response_class=Response,
    responses={
        200: {"model": FindingList, "description": "What a dry run would leave behind"},
        **responses(404, 412, 428),
    },
)
async def delete_rule(name: RuleName, _: Writer, write: Written) -> Response:
    """Delete a rule. One made again under its name is another rule, with another id."""
    return await write.delete(subject_of(name))
