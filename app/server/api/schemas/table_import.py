"""Import and export of the entries of a table over HTTP."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, JsonValue

from app.server.api.gathering import LineError
from app.server.api.schemas.model import In, Out, Time
from app.server.api.schemas.texts import EntryVia

_REPORT = {
    "revision": 42,
    "lines": 3,
    "created": 1,
    "changed": 1,
    "unchanged": 0,
    "deleted": 0,
    "skipped": 1,
    "errors": [{"line": 2, "code": "bad-key", "detail": "this is no key of such a table"}],
    "error_count": 1,
}


class ImportMode(StrEnum):
    """What becomes of the entries that a file does not name."""

    MERGE = "merge"
    REPLACE = "replace"


class OnError(StrEnum):
    """What becomes of a file with lines that cannot be taken."""

    ABORT = "abort"
    SKIP = "skip"


class EntryRow(In):
    """A key of a table and its next hop. What else an answer says of an entry is ignored."""

    READ_ONLY = frozenset({"revision", "created_at", "updated_at"})
    EXAMPLE: ClassVar[object] = {"key": "example.org", "via": "smtps://mx2.example.net"}

    key: Annotated[str, Field(json_schema_extra={"maxLength": 512})]
    """An address, a domain, `*.parent` or a user name, as the key of the table says."""
    via: EntryVia


class EntryList(In):
    """Entries of a table."""

    EXAMPLE: ClassVar[object] = {"entries": [EntryRow.EXAMPLE]}

    entries: list[EntryRow]


class LineErrorOut(Out):
    """What is wrong with one line."""

    line: int
    """From 1 on; in JSON, which item."""
    code: str
    detail: str

    @classmethod
    def of(cls, error: LineError) -> "LineErrorOut":
        """The answer for an error."""
        return cls(line=error.line, code=error.code, detail=error.detail)


class ImportReport(Out):
    """What an import came to."""

    EXAMPLE: ClassVar[object] = _REPORT

    revision: int
    """The head after it; where nothing changed or nothing was stored, as it was."""
    lines: int
    """Of the file; in JSON, items."""
    created: int
    changed: int
    unchanged: int
    deleted: int
    skipped: int
    """Lines that were left out, with `on_error=skip`."""
    errors: list[LineErrorOut]
    """The first 100."""
    error_count: int


class ImportState(StrEnum):
    """Where an import is: `refused` is the file's or the routing's fault, `failed` is ours."""

    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class ImportOut(Out):
    """An import that somebody did not wait for."""

    EXAMPLE: ClassVar[object] = {
        "id": "9f1c2d3e4f5a6b7c",
        "table": "by-domain",
        "state": "done",
        "lines": 3,
        "report": _REPORT,
        "problem": None,
        "started_at": "2026-05-01T12:00:00Z",
        "finished_at": "2026-05-01T12:00:09Z",
    }

    id: str
    table: str
    state: ImportState
    lines: int
    """That were read."""
    report: ImportReport | None
    problem: dict[str, JsonValue] | None
    """Why it is not done, or why the push after it is not: as the problem that would have been
    answered."""
    started_at: Time
    finished_at: Time | None


def errors_out(errors: Sequence[LineError]) -> list[LineErrorOut]:
    """The answers for errors."""
    return [LineErrorOut.of(error) for error in errors]
