"""What the operator's smtpd.conf(5) says that concerns us; read as text, never written.

Only what smtpd itself has no way to tell: which actions, certificates and CAs it declares, where
it listens, how long mail may wait. Whether the file is right, `smtpd -n` decides.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from app.agent import addresses
from app.render.opensmtpd.conf import statements
from app.routing.errors import ControlError

DEFAULT_TTL_S = 4 * 86_400
"""How long smtpd keeps mail unless told otherwise."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MAX_DEPTH = 16
_FAMILIES = {"inet4": 4, "inet6": 6}
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  nothing is bound here


class NotIncluded(ControlError):
    """The operator's file does not lead smtpd to what we render."""

    code = "not-included"

    def __init__(self, conf: Path, wanted: str) -> None:
        super().__init__(
            f"{conf} does not include our rules; add this as its last line, "
            f"or before a rule that takes all mail: {wanted}"
        )


@dataclass(frozen=True, slots=True)
class Listener:
    """Where smtpd takes mail by TCP; `greets` is false where TLS or a proxy's line comes first."""

    host: str
    port: int
    greets: bool


@dataclass(slots=True)
class Declared:
    """What a configuration declares, its includes followed; of each CA its file as well."""

    actions: set[str] = field(default_factory=set)
    certificates: set[str] = field(default_factory=set)
    cas: dict[str, str] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)
    queue_ttl_s: int = DEFAULT_TTL_S


def read(conf: Path, leave_out: Path | None = None) -> Declared:
    """What a file and its includes declare.

    `leave_out` is an include that is not followed. Others that cannot be read are left for smtpd
    to complain about.

    Raises:
        OSError: the file itself cannot be read.
    """
    declared = Declared()
    for statement in _followed(conf.read_text("utf-8", "replace"), leave_out, _MAX_DEPTH):
        _note(declared, statement)
    return declared


def with_include(conf: Path, live: Path, staged: Path) -> str:
    """The operator's file as it would be if our include were another file.

    Raises:
        NotIncluded: it has no such include.
        OSError: it cannot be read.
    """
    text = conf.read_text("utf-8", "replace")
    if ["include", str(live)] not in [statement[:2] for statement in statements(text)]:
        raise NotIncluded(conf, f'include "{live}"')
    return text.replace(str(live), str(staged))


def _followed(text: str, leave_out: Path | None, depth: int) -> Iterator[list[str]]:
    for statement in statements(text):
        if statement[0] != "include" or len(statement) < 2:
            yield statement
        elif depth and (leave_out is None or statement[1] != str(leave_out)):
            path = Path("/", statement[1])
            if path.is_file():
                yield from _followed(path.read_text("utf-8", "replace"), leave_out, depth - 1)


def _note(declared: Declared, statement: list[str]) -> None:
    match statement:
        case ["action", name, *_]:
            declared.actions.add(name)
        case ["pki", name, *_]:
            declared.certificates.add(name)
        case ["ca", name, *rest]:
            declared.cas[name] = rest[1] if rest[:1] == ["cert"] and len(rest) > 1 else ""
        case ["queue", "ttl", duration, *_]:
            declared.queue_ttl_s = _duration_s(duration)
        case ["listen", "on", where, *options] if where != "socket":
            declared.listeners.extend(_listeners(where, options))
        case _:
            return


def _duration_s(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in _SECONDS:
        return DEFAULT_TTL_S  # smtpd refuses such a file
    return int(number) * _SECONDS[unit]


def _listeners(where: str, options: list[str]) -> Iterator[Listener]:
    tls = "smtps" in options
    word = options[options.index("port") + 1] if "port" in options[:-1] else ""
    port = _port(word) if word else (465 if tls else 25)
    if port is None:
        return
    greets = not tls and "proxy-v2" not in options
    families = {version for word, version in _FAMILIES.items() if word in options}
    for host in _hosts(where):
        if not families or _version(host) in {None, *families}:
            yield Listener(host, port, greets)


def _version(host: str) -> int | None:
    """Of an address; None for a name, which may have addresses of both."""
    try:
        return ip_address(host).version
    except ValueError:
        return None


def _port(word: str) -> int | None:
    if word.isdecimal():
        return int(word)
    try:
        return socket.getservbyname(word, "tcp")
    except OSError:
        return None


def _hosts(where: str) -> list[str]:
    """The addresses that a listener's word stands for; an interface stands for all of its own."""
    with suppress(ValueError):
        return [_ANYWHERE.get(where, str(ip_address(where)))]
    if where in {name for _, name in socket.if_nameindex()}:
        return [str(address) for address in addresses.of_host(where) if not address.is_link_local]
    return [where]
