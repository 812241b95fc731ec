"""The command line: what each command is called, takes, prints and exits with.

The one file that imports inside functions: `relaymap resolve` over HTTP must not wait for a web
server, a database and a validator to load.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Never

from app import __version__
from app.routing.errors import (
    ControlError,
    Invalid,
    LimitReached,
    NameTaken,
    Refused,
    RevisionMoved,
    StillReferenced,
    Unknown,
)

if TYPE_CHECKING:
    from app.settings import ServerSettings

# sysexits.h
DONE = 0
USAGE = 64
REFUSED = 65
NOT_FOUND = 66
UNREACHABLE = 69
OUR_FAULT = 70
CANNOT_CREATE = 73
IO_FAILED = 74
TRY_AGAIN = 75
NOT_PERMITTED = 77
CONFIGURATION = 78

_EXITS: tuple[tuple[type[Exception], int], ...] = (
    (FileExistsError, CANNOT_CREATE),
    (FileNotFoundError, NOT_FOUND),
    (PermissionError, NOT_PERMITTED),
    (OSError, IO_FAILED),
    (Unknown, NOT_FOUND),
    (NameTaken, CANNOT_CREATE),
    (StillReferenced, CANNOT_CREATE),
    (LimitReached, CANNOT_CREATE),
    (RevisionMoved, TRY_AGAIN),
    (Refused, REFUSED),
    (Invalid, REFUSED),
)
_EXITS_OF_CODES = {
    "bad-settings": CONFIGURATION,
    "database-newer": CONFIGURATION,
    "database-refused": CONFIGURATION,
    "sealing-key-missing": CONFIGURATION,
    "sealing-key-refused": CONFIGURATION,
    "sealing-key-wrong": CONFIGURATION,
    "token-file-unfit": CONFIGURATION,
    "storage-damaged": IO_FAILED,
    "last-admin": CANNOT_CREATE,
    "cannot-run": NOT_PERMITTED,
    "cannot-install": CANNOT_CREATE,
    "live-file-not-written": IO_FAILED,
    "state-dir-in-use": TRY_AGAIN,
}
"""Errors of edges, which are not imported here for the sake of their class alone."""


class _Parser(argparse.ArgumentParser):
    """Ends with 64, as sysexits.h has it; argparse alone would end with 2."""

    def error(self, message: str) -> Never:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    given = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = given.command
    try:
        return command(given)
    except KeyboardInterrupt:
        return DONE
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more may be flushed to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (ControlError, OSError) as error:
        print(f"relaymap: {_sentence(error)}", file=sys.stderr)
        return _exit_code(error)
    except Exception as error:  # noqa: BLE001  the last resort
        while isinstance(error, ExceptionGroup):  # of tasks side by side, the first one's
            error = error.exceptions[0]
        where = f"{type(error).__name__} in {_where(error)}"
        print(f"relaymap: a fault of ours: {where}", file=sys.stderr)
        return OUR_FAULT


def _where(error: Exception) -> str:
    """Where an error happened; its message may quote what was given, and that may be a token."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return ", ".join(f"{frame.name}:{frame.lineno}" for frame in frames)


def _sentence(error: ControlError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _exit_code(error: ControlError | OSError) -> int:
    if isinstance(error, ControlError) and error.temporary:
        return TRY_AGAIN
    told = getattr(error, "exit_code", None)
    if isinstance(told, int):
        return told
    if isinstance(error, ControlError) and error.code in _EXITS_OF_CODES:
        return _EXITS_OF_CODES[error.code]
    return next((code for kind, code in _EXITS if isinstance(error, kind)), OUR_FAULT)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="relaymap", description="Control plane for where mail leaves.")
    parser.add_argument("--version", action="version", version=f"relaymap {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    told = _Parser(add_help=False)
    told.add_argument("--settings", type=Path, metavar="FILE", help="VARIABLE=value lines")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> _Parser:
        added: _Parser = commands.add_parser(name, help=text, description=text, parents=[told])
        added.set_defaults(command=command)
        return added

    serving = add("serve", _serve, "Serve the API.")
    add("agent", _agent, "Run the agent beside one MTA.")
    _add_resolve(add("resolve", _resolve, "Say where an envelope would go, and why."))
    importing = add("import", _import, "Import the entries of a table from a file.")
    _add_import(importing)
    exporting = add("export", _export, "Print the entries of a table, by key.")
    exporting.add_argument("table")
    exporting.add_argument("--format", choices=_FORMATS, default="text")
    for asking in (importing, exporting):
        _add_server(asking, "ask there (default: RELAYMAP_SERVER, else this machine)")
    tokens = commands.add_parser("token", help="Make, list and revoke tokens.")
    _add_token_commands(tokens, told)
    checking = add("check", _check, "Open what serve would, say what is wrong, change nothing.")
    for listener in (serving, checking):
        listener.add_argument(
            "--behind-proxy",
            action="store_true",
            help="something in front of it speaks TLS; as RELAYMAP_BEHIND_PROXY=1",
        )
    backup = add("backup", _backup, "Write a consistent copy of the database while it runs.")
    backup.add_argument("file", type=Path)
    restore = add("restore", _restore, "Put a backup in place of the database.")
    restore.add_argument("file", type=Path)
    programs = commands.add_parser("table-program", help="Let smtpd ask Relaymap.")
    _add_program_commands(programs)
    add("openapi", _openapi, "Print the OpenAPI document.")
    return parser


def _add_program_commands(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    text = "Put the program where smtpd looks for it; the agent uses it from its next start on."
    install = kinds.add_parser("install", help=text, description=text)
    install.add_argument("--to", type=Path, metavar="DIR", help="the directory of its programs")
    install.set_defaults(command=_install_program)


def _add_resolve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipient")
    parser.add_argument("--sender", help="'' is the null sender")
    parser.add_argument("--client", help="address of the client, or local")
    parser.add_argument("--auth-user")
    parser.add_argument("--helo")
    parser.add_argument("--tag")
    parser.add_argument("--mta", help="count its addresses as local")
    parser.add_argument("--draw", type=int, help="the same draw has the same answer")
    parser.add_argument("--explain", action="store_true", help="say why, rule by rule")
    parser.add_argument("--json", action="store_true", help="the whole answer")
    _add_server(parser, "ask there (default: RELAYMAP_SERVER, else the database)")


def _add_server(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--server", help=text)
    parser.add_argument(
        "--token-file", type=Path, help="default: admin.token in the state directory"
    )


_FORMATS = ("json", "ndjson", "csv", "text")


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="- is the standard input")
    parser.add_argument("--table", required=True)
    parser.add_argument("--format", choices=_FORMATS, help="default: as the file's suffix says")
    parser.add_argument(
        "--mode", choices=("merge", "replace"), default="merge", help="replace: delete the others"
    )
    parser.add_argument(
        "--on-error", choices=("abort", "skip"), default="abort", help="skip: leave bad lines out"
    )
    parser.add_argument(
        "--max-deletes", type=int, metavar="N", help="with replace (default: a tenth)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what it would do")


def _add_token_commands(parser: argparse.ArgumentParser, told: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="Make a token and print it.", parents=[told])
    create.add_argument("--scopes", required=True, help="with commas: routing:read,resolve; or all")
    create.add_argument("--name", default="by-hand")
    create.set_defaults(command=_token_create)
    listing = commands.add_parser("list", help="List tokens.", parents=[told])
    listing.set_defaults(command=_token_list)
    revoke = commands.add_parser("revoke", help="End a token.", parents=[told])
    revoke.add_argument("id")
    revoke.set_defaults(command=_token_revoke)


# --- the processes ----------------------------------------------------------------------------


def _server_settings(given: argparse.Namespace) -> "ServerSettings":
    from app.settings import ServerSettings, load

    told = {"behind_proxy": True} if getattr(given, "behind_proxy", False) else {}
    return load(ServerSettings, given.settings, told)


def _serve(given: argparse.Namespace) -> int:
    from app import garbage

    with garbage.put_off():  # of half a million objects that all stay
        from app.server.main import serve

        garbage.spare()
    serve(_server_settings(given))
    return DONE


def _agent(given: argparse.Namespace) -> int:
    from app.agent.main import run
    from app.observe import start_log
    from app.settings import AgentSettings, load

    settings = load(AgentSettings, given.settings)
    start_log(None if settings.log is None else settings.log.value, settings.log_level.value)
    run(settings)
    return DONE


def _install_program(given: argparse.Namespace) -> int:
    from app.agent import program

    there = [Path(place) for place in program.PLACES if Path(place).is_dir()]
    place = given.to or (there or [Path(program.PLACES[0])])[0]
    print(program.install(place, Path(sys.executable), Path(__file__).resolve().parents[1]))
    return DONE


def _openapi(_: argparse.Namespace) -> int:
    from app.server.api.app import routes_only

    json.dump(routes_only().openapi(), sys.stdout, indent=2, sort_keys=True, ensure_ascii=False)
    sys.stdout.write("\n")
    return DONE


# --- on the database --------------------------------------------------------------------------


def _check(given: argparse.Namespace) -> int:
    from app.server.upkeep import check

    faults = check(_server_settings(given))
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print("nothing is wrong")
    return CONFIGURATION if faults else DONE


def _backup(given: argparse.Namespace) -> int:
    from app.server.upkeep import backup

    backup(_server_settings(given), given.file)
    print(f"wrote {given.file}; the sealing key is not in it: keep it elsewhere, and safe")
    return DONE


def _restore(given: argparse.Namespace) -> int:
    from app.server.upkeep import restore

    restore(_server_settings(given), given.file)
    print("restored; nothing reaches an MTA until you push")
    return DONE


def _token_create(given: argparse.Namespace) -> int:
    from app.server.upkeep import create_token

    print(create_token(_server_settings(given), given.name, given.scopes))
    return DONE


def _token_list(given: argparse.Namespace) -> int:
    from app.server.upkeep import list_tokens

    for line in list_tokens(_server_settings(given)):
        print(line)
    return DONE


def _token_revoke(given: argparse.Namespace) -> int:
    from app.server.upkeep import revoke_token

    revoke_token(_server_settings(given), given.id)
    return DONE


# --- one question -----------------------------------------------------------------------------

_ASKED = ("recipient", "sender", "client", "auth_user", "helo", "tag", "mta", "draw", "explain")


def _resolve(given: argparse.Namespace) -> int:
    question = {name: getattr(given, name) for name in _ASKED}
    # By identity: the number 0 is a draw, and equals False.
    question = {n: v for n, v in question.items() if v is not None and v is not False}
    server = given.server or os.environ.get("RELAYMAP_SERVER")
    if server:
        answer = _known(_ask_server(server, _token(given), question))
    else:
        from app.server.upkeep import resolve

        answer = resolve(_server_settings(given), question)
    if given.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(answer)))
    return DONE


def _import(given: argparse.Namespace) -> int:
    from app.command_import import Sending, Server, import_file

    query = {"mode": given.mode, "on_error": given.on_error}
    if given.max_deletes is not None:
        query["max_deletes"] = str(given.max_deletes)
    if given.dry_run:
        query["dry_run"] = "true"
    sending = Sending(given.table, given.file, given.format, query)
    import_file(Server(_server(given), _token(given)), sending)
    return DONE


def _export(given: argparse.Namespace) -> int:
    from app.command_import import Server, export_table

    export_table(Server(_server(given), _token(given)), given.table, given.format)
    return DONE


def _server(given: argparse.Namespace) -> str:
    port = os.environ.get("RELAYMAP_PORT") or "8025"
    return given.server or os.environ.get("RELAYMAP_SERVER") or f"http://127.0.0.1:{port}"


_TOKEN = re.compile(r"rly_[A-Za-z0-9_-]{43}")


def _token(given: argparse.Namespace) -> str:
    state_dir = Path(os.environ.get("RELAYMAP_STATE_DIR") or "/var/lib/relaymap")
    path: Path = given.token_file or state_dir / "admin.token"
    try:
        token = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError as error:
        where = "name the file with --token-file, or the server's RELAYMAP_STATE_DIR"
        raise FileNotFoundError(error.errno, f"{error.strerror}; {where}", str(path)) from None
    if not _TOKEN.fullmatch(token):
        raise Refused("bad-token", f"{path} does not hold a token, and nothing else")
    return token


class _Answered(ControlError):
    """The server answered with a problem.

    Attributes:
        exit_code: of sysexits.h.
    """

    code = "answered"

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.exit_code = _STATUSES.get(status, OUR_FAULT if status >= 500 else REFUSED)


_STATUSES = {
    401: NOT_PERMITTED,
    403: NOT_PERMITTED,
    404: NOT_FOUND,
    412: TRY_AGAIN,
    429: TRY_AGAIN,
    503: TRY_AGAIN,
}


class _Unreachable(ControlError):
    """No answer that is one."""

    code = "unreachable"
    exit_code = UNREACHABLE


def _ask_server(server: str, token: str, question: dict[str, object]) -> dict[str, object]:
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    if not server.startswith(("http://", "https://")):
        raise _Unreachable("write the server as http://host:port or https://host:port")
    try:
        request = Request(  # noqa: S310  the scheme was looked at
            server.rstrip("/") + "/v1/resolve",
            json.dumps(question).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=_PATIENCE_S) as answer:  # noqa: S310  as above
            return _object(answer.read())
    except HTTPError as error:
        with error:
            problem = _object(error.read())
        raise _Answered(error.code, _said(problem)) from None
    except (URLError, HTTPException, TimeoutError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise _Unreachable(f"the server cannot be reached: {reason}") from None


_PATIENCE_S = 15


def _known(answer: dict[str, object]) -> dict[str, object]:
    """An answer to a question, once it is sure that it is one."""
    try:
        _lines(answer)
    except (KeyError, TypeError, IndexError):
        raise _Unreachable("what answers there is no Relaymap server") from None
    return answer


def _object(body: bytes) -> dict[str, object]:
    try:
        read = json.loads(body)
    except ValueError:
        raise _Unreachable("what answers there is no Relaymap server") from None
    if not isinstance(read, dict):
        raise _Unreachable("what answers there is no Relaymap server")
    return read


def _said(problem: dict[str, object]) -> str:
    errors = problem.get("errors")
    found = [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    lines = [f"{each.get('pointer')}: {each.get('detail')}" for each in found]
    return "\n".join(
        [str(problem.get("detail")), *lines]
        if len(lines) > 1
        else lines or [str(problem.get("detail"))]
    )


def _lines(answer: dict[str, object]) -> list[str]:
    """The outcome in one line; with a trace, a line for each rule that was tried."""
    mx = answer.get("mx")
    where = answer.get("url") or (f"smtp://{mx['host']}:{mx['port']}" if mx else None)  # type: ignore[index]
    said = [answer["outcome"], where or answer.get("because")]
    lines = [" ".join(str(part) for part in said if part)]
    trace = answer.get("trace")
    for step in trace if isinstance(trace, list) else []:
        verdict = "matches" if step["matched"] else f"does not match: {step['because']}"
        lines.append(f"  {step['rule']} {verdict}")
    return lines
