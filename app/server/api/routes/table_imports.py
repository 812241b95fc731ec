"""Import of the entries of a table from a file, and what became of imports that nobody awaited."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request
from fastapi import Path as PathParameter
from pydantic import JsonValue

from app.routing.change import Change, EntryChanges, parts_of
from app.routing.errors import Fault, RevisionMoved
from app.routing.next_hop import EntryHop, ViaMap
from app.routing.relay_url import RelayURL
from app.routing.routing_table import RoutingTable
from app.routing.table import Table
from app.routing.writes import PutMany, Write
from app.server.api import v1
from app.server.api.auth import Reader, Writer
from app.server.api.entry_forms import Form
from app.server.api.entry_reader import reader
from app.server.api.gathering import Gathering, LineError
from app.server.api.import_jobs import Job
from app.server.api.parameters import QueryInt
from app.server.api.problems import NAMELESS, responses
from app.server.api.refusals import BadMediaType, ImportRefused, TooManyDeletes
from app.server.api.routes.tables import TableName, table_in
from app.server.api.schemas.table_import import (
    ImportMode,
    ImportOut,
    ImportReport,
    OnError,
    errors_out,
)
from app.server.api.services import Control
from app.server.api.uploads import read_upload
from app.server.api.writing import Writing, Written
from app.server.live import Snapshot
from app.server.proposal import MAX_ENTRIES

router = v1.router("tables")

_EXAMPLES = {
    Form.NDJSON: '{"key": "example.org", "via": "mx"}\n{"key": "*.example.org", "via": "mx"}\n',
    Form.CSV: "key,via\r\nexample.org,mx\r\n*.example.org,mx\r\n",
    Form.TEXT: "# the shop's\nexample.org mx\n*.example.org mx\n",
}
_BODY: Mapping[str, Any] = {
    "required": True,
    "content": {
        Form.JSON.value: {"schema": {"$ref": "#/components/schemas/EntryList"}},
        **{
            form.value: {"schema": {"type": "string"}, "example": example}
            for form, example in _EXAMPLES.items()
        },
    },
}


@dataclass(frozen=True, slots=True)
class _Wishes:
    """How an import is to be made, as the request says."""

    mode: ImportMode
    on_error: OnError
    max_deletes: int | None


async def _wishes(
    mode: Annotated[
        ImportMode,
        Query(description="`replace`: entries that the file does not name are deleted."),
    ] = ImportMode.MERGE,
    on_error: Annotated[
        OnError,
        Query(
            description=(
                "`skip`: lines that cannot be taken are left out, else all is refused. An entry"
                " whose key such a line names stays as it is. A body as `application/json` has no"
                " lines: where it is not well-formed, it is refused whole."
            )
        ),
    ] = OnError.ABORT,
    max_deletes: Annotated[
        QueryInt | None,
        Query(
            ge=0,
            le=MAX_ENTRIES,
            description="How many entries `replace` may delete; absent: a tenth of them.",
        ),
    ] = None,
) -> _Wishes:
    return _Wishes(mode, on_error, max_deletes)


@router.post(
    "/tables/{table}/import",
    summary="Import entries from a file",
    response_model=ImportReport,
    openapi_extra={"requestBody": dict(_BODY)},
    responses={
        202: {"model": ImportOut, "description": "Read, and being stored"},
        **responses(404, 409, 412, 428, 503),
    },
)
async def import_entries(
    name: TableName,
    request: Request,
    wishes: Annotated[_Wishes, Depends(_wishes)],
    prefer: Annotated[
        str | None,
        Header(
            description=(
                "`respond-async`: once the file is read, answer 202 with the import in `Location`."
            )
        ),
    ] = None,
    *,
    _: Writer,
    write: Written,
) -> object:
    """Create or replace entries from a file of any length: as one revision, whole or not at all.

    NDJSON is an object a line, CSV is RFC 4180 with or without the header `key,via`, text is
    `key via` with `#` for comments. A key that stands twice is an error in its second line. The
    file is read as it comes, and nobody else waits for it. `If-Match` names the head, or the tag of
    an export. Four files are read at once; who comes then is told so by 503 and Retry-After.

    With `Prefer: respond-async` a file that can be read is answered with 202.
    """
    snapshot = write.services.live.current()
    table = table_in(snapshot, name)
    write.conditions.check_head(snapshot)
    form = _form(request.headers.get("content-type", ""))
    services = write.services
    with ExitStack() as held:
        held.enter_context(services.imports.place())
        gathered = Gathering(table.key, judge_of(snapshot.table))
        await read_upload(request.receive, reader(form, gathered))
        one = _Import(write, table, wishes, gathered, held)
        one.refuse_errors(snapshot.revision, form)
        if not _responds_async(prefer):
            return await one.made()
        one.held = held.pop_all()
    job = services.imports.begin(name, gathered.lines, one.work, services.now)
    headers = {"Location": f"{v1.PREFIX}/imports/{job.id}", "Preference-Applied": "respond-async"}
    body = ImportOut.model_validate(job).model_dump(mode="json")
    return v1.Line(body, 202, {**dict(write.response.headers), **headers})


def _form(content_type: str) -> Form:
    """The form of a file. Raises BadMediaType where nobody says it."""
    try:
        return Form(content_type.partition(";")[0].strip().lower())
    except ValueError:
        raise BadMediaType("say in Content-Type in which form the entries come") from None


def _responds_async(prefer: str | None) -> bool:
    """Whether that is preferred (RFC 7240 4.1)."""
    given = (prefer or "").replace(";", ",").split(",")
    return any(each.strip().lower() == "respond-async" for each in given)


@dataclass(slots=True)
class _Import:
    """One import, from the file that was read to the report.

    Attributes:
        held: what is let go of once nothing of the file is in memory any more.
    """

    write: Writing
    table: Table
    wishes: _Wishes
    gathered: Gathering
    held: ExitStack

    def refuse_errors(self, revision: int, form: Form) -> None:
        """Refuse a file with lines that cannot be taken, unless those are to be left out.

        Raises:
            ImportRefused: names the first of them.
        """
        gathered = self.gathered
        if not gathered.error_count or self.wishes.on_error is OnError.SKIP:
            return
        report = self._report(revision, _Counts(), len(gathered))
        faults = tuple(_fault(error, form) for error in gathered.errors)
        told: JsonValue = report.model_dump(mode="json")
        raise ImportRefused(faults, gathered.error_count, told)

    async def work(self, job: Job) -> None:
        """Make the import that nobody waits for."""
        with self.held:
            job.report = await self._stored()
        await self.write.push_if_asked()

    async def made(self) -> ImportReport:
        """Make the import; the answer."""
        with self.held:
            report = await self._stored()
        await self.write.push_if_asked()
        return report

    async def _stored(self) -> ImportReport:
        held = [await asyncio.to_thread(self.gathered.entries)]
        count = len(held[0])

        def plan(snapshot: Snapshot) -> Sequence[Write]:
            if table_in(snapshot, self.table.name).key is not self.table.key:
                raise RevisionMoved(snapshot.revision)
            self.write.conditions.check_head(snapshot)
            replaces = self.wishes.mode is ImportMode.REPLACE
            # A line that was left out names its key all the same.
            return [PutMany(self.table.name, held[0], replaces, self.gathered.spared)]

        try:
            edited = await self.write.edit(plan, look=self._refuse_deletes)
        except asyncio.CancelledError:
            raise  # the edit is carried to its end all the same, and has them
        except BaseException:
            await asyncio.to_thread(_let_go, list(held.pop().leaves()))
            raise
        counts = await asyncio.to_thread(_counted, edited.changes)
        await asyncio.to_thread(_let_go, list(held.pop().leaves()))
        return self._report(edited.snapshot.revision, counts, count)

    def _refuse_deletes(self, snapshot: Snapshot, changes: Sequence[Change]) -> None:
        present = len(snapshot.table.entries_of(self.table.name))
        most = self.wishes.max_deletes
        most = present // 10 if most is None else most
        deletes = _counted(changes).deleted
        if deletes > most:
            raise TooManyDeletes(deletes, most, present)

    def _report(self, revision: int, counts: "_Counts", entries: int) -> ImportReport:
        gathered, skips = self.gathered, self.wishes.on_error is OnError.SKIP
        return ImportReport(
            revision=revision,
            lines=gathered.lines,
            created=counts.created,
            changed=counts.changed,
            unchanged=counts.unchanged(entries),
            deleted=counts.deleted,
            skipped=gathered.error_count if skips else 0,
            errors=errors_out(gathered.errors),
            error_count=gathered.error_count,
        )


@dataclass(slots=True)
class _Counts:
    created: int = 0
    changed: int = 0
    deleted: int = 0
    is_made: bool = False

    def unchanged(self, entries: int) -> int:
        """Of so many entries of a file, those that were there alike."""
        return entries - self.created - self.changed if self.is_made else 0


def _counted(changes: Sequence[Change]) -> _Counts:
    counts = _Counts(is_made=True)
    for part in parts_of(changes):
        hops: Iterable[tuple[object, object]]
        if isinstance(part, EntryChanges):
            hops = zip(part.befores, part.afters, strict=True)
        else:
            hops = ((change.before, change.after) for change in part)
        for before, after in hops:
            counts.created += before is None
            counts.deleted += after is None
            counts.changed += before is not None and after is not None
    return counts


def _let_go(leaves: list[object]) -> None:
    """Free what no table has taken over, bit by bit: at one blow, nobody else would run."""
    while leaves:
        leaves.pop()


def _fault(error: LineError, form: Form) -> Fault:
    """An error of a line, as a fault of the body; only JSON has pointers."""
    member = f"/{error.member}" if error.member else ""
    pointer = f"/entries/{error.line - 1}{member}" if form is Form.JSON else ""
    place = "item" if form is Form.JSON else "line"
    return Fault(error.code, f"{place} {error.line}: {error.detail}", pointer)


def judge_of(table: RoutingTable) -> Callable[[EntryHop], Fault | None]:
    """What refuses a next hop in a routing: what it names is not there, or not for its host."""

    def judge(hop: EntryHop) -> Fault | None:
        code = ""
        if isinstance(hop, ViaMap) and hop.name not in table.maps:
            code = "dangling-map"
        elif isinstance(hop, RelayURL) and hop.credential is not None:
            credential = table.credentials.get(hop.credential)
            if credential is None:
                code = "dangling-credential"
            elif not credential.allows(hop.host):
                code = "credential-not-for-host"
        return Fault(code, NAMELESS[code]) if code else None

    return judge


@router.get("/imports/{import}", summary="Read an import", responses=responses(404))
async def get_import(
    name: Annotated[
        str,
        PathParameter(
            alias="import",
            max_length=64,
            description="Id of an import, from the `Location` of its 202.",
            examples=["9f1c2d3e4f5a6b7c"],
        ),
    ],
    _: Reader,
    services: Control,
) -> ImportOut:
    """What became of an import that was begun with `Prefer: respond-async`.

    The last hundred are kept, until the server ends; the revision that one made is in the journal.
    """
    return ImportOut.model_validate(services.imports.get(name))
