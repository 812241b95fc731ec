"""The commands that send a table's entries to a server from a file, and fetch them into one.

They load nothing of the server: what they need of HTTP is in the standard library.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from app.routing.errors import ControlError, Refused

TYPES: Mapping[str, str] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "text": "text/plain",
}
_SUFFIXES: Mapping[str, str] = {
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".txt": "text",
}
_BLOCK = 1 << 16
_PATIENCE_S = 120
_ASK_EVERY_S = 0.2
_SHOWN_ERRORS = 20
_WIDTH = 30

UNREACHABLE = 69
NOT_PERMITTED = 77
NOT_FOUND = 66
REFUSED = 65
OUR_FAULT = 70
TRY_AGAIN = 75
_EXITS = {401: NOT_PERMITTED, 403: NOT_PERMITTED, 404: NOT_FOUND, 412: TRY_AGAIN, 503: TRY_AGAIN}


class Ended(ControlError):
    """It came to nothing.

    Attributes:
        exit_code: of sysexits.h.
    """

    code = "import-ended"

    def __init__(self, detail: str, exit_code: int) -> None:
        super().__init__(detail)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Server:
    """Where to send it, and as whom.

    Attributes:
        url: `http://host:port` or `https://host:port`.
    """

    url: str
    token: str

    def connect(self) -> HTTPConnection:
        """A connection. Raises Ended for what is no URL of a server."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Ended("write the server as http://host:port or https://host:port", UNREACHABLE)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        return kind(parts.hostname, parts.port, timeout=_PATIENCE_S)

    def headers(self, **more: str) -> dict[str, str]:
        """What every request says, and more."""
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return {"Authorization": f"Bearer {self.token}", **named}


@dataclass(frozen=True, slots=True)
class Sending:
    """What to send where, and how it is meant.

    Attributes:
        file: a path, or "-" for the standard input.
        form: of `TYPES`; None: as the suffix of the file says.
        query: parameters of the import.
    """

    table: str
    file: str
    form: str | None
    query: Mapping[str, str]

    def media_type(self) -> str:
        """Of the file. Raises Refused where nothing says which."""
        form = self.form or _SUFFIXES.get(Path(self.file).suffix.lower())
        if form is None:
            known = ", ".join(TYPES)
            raise Refused("bad-format", f"the name does not say the format: --format {known}")
        return TYPES[form]


def import_file(server: Server, sending: Sending) -> None:
    """Send a file and wait for what becomes of it; prints the report.

    Raises:
        Ended: nothing was stored.
        Refused: nothing says which format the file has.
        OSError: the file cannot be read.
    """
    media_type = sending.media_type()
    bar = _Bar(sys.stderr.isatty())
    path = f"/v1/tables/{quote(sending.table, safe='')}/import?{urlencode(sending.query)}"
    with _opened(sending.file) as source:
        size = _size(source)
        headers = server.headers(Content_Type=media_type, Prefer="respond-async")
        if size is not None:
            headers["Content-Length"] = str(size)
        answer = _exchanged(server, "POST", path, headers, bar.blocks(source, size))
    if answer.get("state") is not None:
        answer = _awaited(server, str(answer["id"]), bar)
    bar.end()
    _print_errors(answer)
    counts = ("lines", "created", "changed", "unchanged", "deleted", "skipped")
    listed = ", ".join(f"{answer[name]:,} {name}" for name in counts)
    print(f"revision {answer['revision']}: {listed}")


def export_table(server: Server, table: str, form: str) -> None:
    """Write the entries of a table to the standard output. Raises Ended."""
    link = server.connect()
    path = f"/v1/tables/{quote(table, safe='')}/export"
    try:
        link.request("GET", path, headers=server.headers(Accept=TYPES[form]))
        answer = link.getresponse()
        if answer.status != 200:
            raise _refused(answer.status, _object(answer))
        while block := answer.read(_BLOCK):
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    except (HTTPException, ConnectionError, TimeoutError) as error:
        raise _unreachable(error) from None
    finally:
        link.close()


def _opened(file: str) -> BinaryIO:
    return os.fdopen(os.dup(sys.stdin.fileno()), "rb") if file == "-" else Path(file).open("rb")


def _size(source: BinaryIO) -> int | None:
    """Of a file; None of a pipe, which does not say."""
    if not source.seekable():
        return None
    return os.fstat(source.fileno()).st_size - source.tell()


def _exchanged(
    server: Server,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: Iterator[bytes] | None = None,
) -> dict[str, object]:
    """The answer to one request. Raises Ended for one that is no success."""
    link = server.connect()
    try:
        # Where it is refused before its end, the answer says why.
        with suppress(BrokenPipeError, ConnectionResetError):
            link.request(method, path, body, dict(headers))
        answer = link.getresponse()
        said = _object(answer)
        if not 200 <= answer.status < 300:
            raise _refused(answer.status, said)
    except (HTTPException, ConnectionError, TimeoutError) as error:
        raise _unreachable(error) from None
    except OSError as error:
        if error.filename is not None:
            raise
        raise _unreachable(error) from None
    finally:
        link.close()
    return said


def _awaited(server: Server, name: str, bar: "_Bar") -> dict[str, object]:
    """The report of an import, once it has ended. Raises Ended."""
    while True:
        told = _exchanged(server, "GET", f"/v1/imports/{quote(name)}", server.headers())
        problem, report = told.get("problem"), told.get("report")
        if isinstance(problem, dict):
            raise _refused(int(problem.get("status", 500)), problem)
        if isinstance(report, dict) and told.get("state") == "done":
            return report
        bar.stores(told.get("lines"))
        time.sleep(_ASK_EVERY_S)


def _object(answer: HTTPResponse) -> dict[str, object]:
    try:
        read = json.loads(answer.read())
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise Ended("what answers there is no Relaymap server", UNREACHABLE)
    return read


def _unreachable(error: Exception) -> Ended:
    said = error.strerror if isinstance(error, OSError) else None
    return Ended(f"the server cannot be reached: {said or type(error).__name__}", UNREACHABLE)


def _refused(status: int, problem: dict[str, object]) -> Ended:
    report = problem.get("report")
    if isinstance(report, dict):
        _print_errors(report)
    lines = [str(problem.get("detail"))]
    errors = problem.get("errors")
    if isinstance(errors, list) and len(errors) > 1 and not isinstance(report, dict):
        lines += [str(each.get("detail")) for each in errors[:_SHOWN_ERRORS]]
    return Ended("\n".join(lines), _EXITS.get(status, OUR_FAULT if status >= 500 else REFUSED))


def _print_errors(report: Mapping[str, object]) -> None:
    """The first errors, by line."""
    errors, count = report.get("errors"), report.get("error_count")
    shown = errors[:_SHOWN_ERRORS] if isinstance(errors, list) else []
    for each in shown:
        print(f"line {each['line']}: {each['detail']}", file=sys.stderr)
    if isinstance(count, int) and count > len(shown):
        print(f"and {count - len(shown):,} more", file=sys.stderr)


class _Bar:
    """How far it is, on a terminal; elsewhere nothing, so that logs stay short."""

    def __init__(self, is_terminal: bool) -> None:  # noqa: FBT001  its one argument
        self._is_terminal = is_terminal
        self._shown = ""

    def blocks(self, source: BinaryIO, size: int | None) -> Iterator[bytes]:
        """The blocks of a file, as they are sent."""
        sent = 0
        while block := source.read(_BLOCK):
            yield block
            sent += len(block)
            part = None if not size else sent / size
            drawn = "" if part is None else f" [{'#' * int(part * _WIDTH):<{_WIDTH}}] {part:4.0%}"
            self._show(f"sending{drawn} {sent / 1e6:,.1f} MB")

    def stores(self, lines: object) -> None:
        """All of it was read."""
        self._show(f"storing {lines:,} lines" if isinstance(lines, int) else "storing")

    def end(self) -> None:
        """Leave the line to what is printed next."""
        self._show("")

    def _show(self, text: str) -> None:
        if self._is_terminal and text != self._shown:
            sys.stderr.write(f"\r{text:<{len(self._shown)}}" + ("" if text else "\r"))
            sys.stderr.flush()
            self._shown = text
