"""One question to a server over HTTP, plainly put and plainly answered, with next to no imports.

Whoever asks by hand, or in a loop of a script, waits for Python to start, and for little else.
What is not plain (TLS, `--json`, `--explain`, an error of any kind) is left to `app.cli`.
"""

import os
import socket
import sys
from collections.abc import Mapping, Sequence

_OPTIONS = {
    f"--{name.replace('_', '-')}": name
    for name in ("sender", "client", "auth_user", "helo", "tag", "mta", "draw", "server")
} | {"--token-file": "token_file"}
_NO_MEMBERS = frozenset({"server", "token_file"})
_PATIENCE_S = 15
_TOKEN_LENGTH = len("rly_") + 43
_PORT = 80


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int | None:
    """Ask and print as `relaymap resolve` does; None, with nothing printed, where it is not plain.

    Args:
        arguments: those behind `resolve`.
        environment: of the process.
    """
    given = _given(arguments)
    if given is None:
        return None
    body = _body(given)
    server = _address(given.get("server") or environment.get("RELAYMAP_SERVER") or "")
    if body is None or server is None:
        return None
    state_dir = environment.get("RELAYMAP_STATE_DIR") or "/var/lib/relaymap"
    try:
        token = _token(given.get("token_file") or f"{state_dir}/admin.token")
        line = None if token is None else _line(_answer(server, token, body))
    except (OSError, UnicodeError):
        return None
    if line is None:
        return None
    _print(line)
    return 0


def _given(arguments: Sequence[str]) -> dict[str, str] | None:
    given: dict[str, str] = {}
    left = list(reversed(arguments))
    while left:
        argument = left.pop()
        if argument.startswith("-"):
            option, equals, value = argument.partition("=")
            name = _OPTIONS.get(option)
            if not equals:
                value = left.pop() if left else "-"
            if value.startswith("-"):
                return None
        else:
            name, value = "recipient", argument
        if name is None or name in given:
            return None
        given[name] = value
    return given if "recipient" in given else None


def _body(given: Mapping[str, str]) -> str | None:
    members = {name: value for name, value in given.items() if name not in _NO_MEMBERS}
    draw = members.get("draw")
    if draw is not None and not (draw.isascii() and draw.isdigit() and draw == str(int(draw))):
        return None
    texts = [text for name, text in members.items() if name != "draw"]
    if any(not text.isascii() or not text.isprintable() for text in texts):
        return None
    if any('"' in text or "\\" in text for text in texts):
        return None
    said = (f'"{n}":{v}' if n == "draw" else f'"{n}":"{v}"' for n, v in members.items())
    return f"{{{','.join(said)}}}"


def _address(url: str) -> tuple[str, int] | None:
    if not url.startswith("http://"):
        return None
    host, colon, port = url.removeprefix("http://").removesuffix("/").partition(":")
    if not host.isascii() or not host.replace(".", "").replace("-", "").isalnum():
        return None
    if not colon:
        return host, _PORT
    return (host, int(port)) if port.isascii() and port.isdigit() and len(port) <= 5 else None


def _token(path: str) -> str | None:
    with open(path, encoding="ascii") as file:  # noqa: PTH123  pathlib alone takes longer to load
        token = file.read(_TOKEN_LENGTH + 64).strip()
    plain = token.replace("-", "").replace("_", "")
    whole = len(token) == _TOKEN_LENGTH and token.startswith("rly_") and plain.isalnum()
    return token if whole else None


def _answer(server: tuple[str, int], token: str, body: str) -> bytes:
    head = (
        f"POST /v1/resolve HTTP/1.1\r\nHost: {server[0]}:{server[1]}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    said = b""
    with socket.create_connection(server, _PATIENCE_S) as link:
        link.sendall(f"{head}{body}".encode("ascii"))
        while more := link.recv(1 << 16):
            said += more
    return said


def _line(said: bytes) -> str | None:
    """The outcome, and where it goes or why it does not; None where that takes reading JSON."""
    head, _, body = said.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or not body.endswith(b"}\n") or b"\\" in body:
        return None
    if b"\r\ncontent-length: %d\r\n" % len(body) not in head + b"\r\n":
        return None
    # What is asked for stands before the candidates, which have members of the same names.
    answer, found, _ = body.partition(b',"candidates":')
    outcome = _text(answer, b'{"outcome":"')
    where = _text(answer, b',"url":"') or _text(answer, b',"because":"')
    return f"{outcome} {where}" if found and outcome and where else None


def _text(answer: bytes, before: bytes) -> str:
    _, _, rest = answer.partition(before)
    return rest.partition(b'"')[0].decode("utf-8")


def _print(line: str) -> None:
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more may be flushed to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
