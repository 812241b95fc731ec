"""Entries of tables: one key, percent-encoded in paths, and its next hop."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path, Response

from app.routing.change import Kind, Subject
from app.routing.errors import Invalid, Refused, RevisionMoved, Unknown
from app.routing.table import Table, parse_key
from app.routing.writes import Delete, Put, Write
from app.server.api import v1
from app.server.api.auth import Reader, Writer
from app.server.api.faults import At
from app.server.api.pages import Page
from app.server.api.parameters import LONGEST
from app.server.api.preconditions import ReadingOf
from app.server.api.problems import responses
from app.server.api.refusals import BadParameter
from app.server.api.routes.tables import TableName, table_in
from app.server.api.schemas.finding import FindingList
from app.server.api.schemas.table import EntryIn, EntryOut, EntryPage
from app.server.api.services import Control, Current
from app.server.api.writing import Written, same_name
from app.server.live import Snapshot

router = v1.router("tables")

Key = Annotated[
    str,
    Path(
        alias="key",
        max_length=LONGEST,
        description="Key of an entry: an address, a domain, `*.parent` or a user name.",
        examples=["example.org"],
    ),
]
_ORDER = "entries"


def _subject(table: Table, text: str) -> Subject:
    """The subject that an entry is, by its canonical key.

    Raises:
        BadParameter: the text is no key of that table.
    """
    try:
        return Subject(Kind.ENTRY, table.name, parse_key(table.key, text))
    except Refused as refused:
        raise BadParameter(At("path", refused.fault.under("/key"))) from None


def _shown(snapshot: Snapshot, subject: Subject) -> EntryOut:
    via = snapshot.table.entries[subject.name][subject.member]
    return EntryOut.of(subject.member, via, snapshot.marks[subject])


@router.get("/tables/{table}/entries", summary="List entries", responses=responses(404))
async def list_entries(
    name: TableName, _: Reader, services: Control, snapshot: Current, page: Page
) -> EntryPage:
    """The entries of a table, by key."""
    table_in(snapshot, name)
    of = f"{_ORDER}/{name}"
    # From the database, which has them in order; memory would be looked through for every page.
    rows = await services.store.entries(name, page.limit + 1, page.after_text(of))
    cut = page.page(of, [((row.key,), row) for row in rows])
    items = [EntryOut.of(row.key, row.via, row.mark) for row in cut.items]
    return EntryPage(items=items, next_cursor=cut.next_cursor)


@router.put(
    "/tables/{table}/entries/{key}",
    summary="Create or replace an entry",
    responses={201: {"model": EntryOut, "description": "Created"}, **responses(404, 412, 428)},
)
async def put_entry(
    name: TableName, key: Key, body: EntryIn, snapshot: Current, _: Writer, write: Written
) -> EntryOut:
    """Say where the mail of one key goes."""
    table = table_in(snapshot, name)
    subject = _subject(table, key)
    _same_key(table, body.key, subject)

    def plan(snapshot: Snapshot) -> Sequence[Write]:
        write.conditions.check(snapshot, _still(snapshot, table, subject))
        return [Put(subject, body.value())]

    return _shown(await write.run(plan, subject), subject)


def _still(snapshot: Snapshot, table: Table, subject: Subject) -> Subject:
    """The subject, unless its table came to be keyed on something else meanwhile."""
    if table_in(snapshot, table.name).key is not table.key:
        raise RevisionMoved(snapshot.revision)
    return subject


def _same_key(table: Table, given: object, subject: Subject) -> None:
    """Refuse a body that holds another key than the path. Raises Invalid."""
    if isinstance(given, str):
        try:
            same_name(parse_key(table.key, given), subject.member, "key")
        except Refused as refused:
            raise Invalid((refused.fault.under("/key"),)) from None


@router.get("/tables/{table}/entries/{key}", summary="Read an entry", responses=responses(404))
async def get_entry(
    name: TableName, key: Key, _: Reader, snapshot: Current, reading: ReadingOf
) -> EntryOut:
    """Where the mail of exactly this key goes; parents and the default are not looked at."""
    subject = _subject(table_in(snapshot, name), key)
    if subject.member not in snapshot.table.entries[name]:
        raise Unknown("entry")
    reading.tag(subject)
    return _shown(snapshot, subject)


@router.delete(
    "/tables/{table}/entries/{key}",
    summary="Delete an entry",
    status_code=204,
    response_class=Response,
    responses={
        200: {"model": FindingList, "description": "What a dry run would leave behind"},
        **responses(404, 412, 428),
    },
)
async def delete_entry(
    name: TableName, key: Key, snapshot: Current, _: Writer, write: Written
) -> Response:
    """Leave the mail of one key to its parents or the default."""
    table = table_in(snapshot, name)
    subject = _subject(table, key)

    def plan(snapshot: Snapshot) -> Sequence[Write]:
        write.conditions.check(snapshot, _still(snapshot, table, subject))
        return [Delete(subject)]

    return await write.delete_by(plan)
