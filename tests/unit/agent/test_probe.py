"""What one look at a relay finds, from peers on real sockets, kind ones and others."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from app.agent.dialogue import MAX_LINE
from app.agent.probe import CannotProbe, Found, probe
from app.routing.relay_url import parse_relay_url
from app.wire import Cause, RelayHealth
from tests.mta.bed.certificates import Authority

pytestmark = [pytest.mark.io, pytest.mark.anyio]

LOCAL = ip_address("127.0.0.1")
UP = Found(RelayHealth.UP, addresses=(LOCAL,))
AUTHORITY = Authority.create()
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def down(cause: Cause, reply: int | None = None) -> Found:
    return Found(RelayHealth.DOWN, cause, reply, (LOCAL,))


@dataclass
class Peer:
    """A server that says what it is told to, and keeps what it hears."""

    replies: dict[str, str] = field(default_factory=dict)
    banner: str = "220 relay.test ESMTP\r\n"
    extensions: tuple[str, ...] = ("PIPELINING",)
    context: ssl.SSLContext | None = None
    heard: list[str] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.banner.encode("latin-1"))
        while line := (await reader.readline()).decode("latin-1").strip():
            self.heard.append(line)
            verb = line.split()[0]
            writer.write(self._reply(verb).encode("latin-1"))
            if verb == "STARTTLS" and self.context is not None:
                await writer.start_tls(self.context)

    def _reply(self, verb: str) -> str:
        if verb in self.replies:
            return self.replies[verb]
        if verb in {"EHLO", "LHLO"}:
            lines = ["relay.test", *self.extensions]
            marks = ["-"] * (len(lines) - 1) + [" "]
            return "".join(f"250{m}{text}\r\n" for m, text in zip(marks, lines, strict=True))
        return "220 go\r\n" if verb == "STARTTLS" else "250 fine\r\n"


@asynccontextmanager
async def listening(script: Script, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    busy = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        busy.add(asyncio.current_task())
        try:
            await script(reader, writer)
        except (OSError, asyncio.CancelledError):
            return
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in busy:
            if task is not None:
                task.cancel()


def tls(tmp_path: Path, *names: str) -> ssl.SSLContext:
    certificate, key = AUTHORITY.issue(*names)
    file = tmp_path / "pair.pem"
    file.write_text(certificate + key)
    (tmp_path / "ca.pem").write_text(AUTHORITY.pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def look(port: int, schema: str = "smtp", limit_s: float = 20.0, **how: object) -> Found:
    url = parse_relay_url(f"{schema}://127.0.0.1:{port}")
    return await probe(url, limit_s=limit_s, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("smtp", ["EHLO", "QUIT"]),
        ("smtp+notls", ["EHLO", "QUIT"]),
        ("lmtp", ["LHLO", "QUIT"]),
    ],
)
async def test_a_relay_that_greets_is_up_and_no_message_is_begun(schema: str, said: list[str]):
    peer = Peer()
    async with listening(peer) as port:
        assert await look(port, schema) == UP
    assert [line.split()[0] for line in peer.heard] == said


async def test_one_that_knows_no_ehlo_is_asked_by_helo():
    peer = Peer(replies={"EHLO": "502 what\r\n"})
    async with listening(peer) as port:
        assert await look(port) == UP


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (Peer(banner="554 go away\r\n"), down(Cause.NO_BANNER, 554)),
        (Peer(banner="421 busy\r\n"), down(Cause.NO_BANNER, 421)),
        (Peer(banner="SSH-2.0-OpenSSH_9\r\n"), down(Cause.NOT_SMTP)),
        (Peer(banner="\x00\xff\r\n"), down(Cause.NOT_SMTP)),
        (Peer(banner="220 " + "x" * 3 * MAX_LINE + "\r\n"), down(Cause.NOT_SMTP)),
        (Peer(banner="220-and so on\r\n" * 10_000), down(Cause.NOT_SMTP)),
        (Peer(banner="x" * 5_000_000), down(Cause.NOT_SMTP)),
        (
            Peer(replies={"EHLO": "550 no\r\n", "HELO": "550 no\r\n"}),
            down(Cause.NOT_SMTP, 550),
        ),
        (Peer(replies={"EHLO": "250-a\r\n" * 1_000}), down(Cause.NOT_SMTP)),
        (Peer(replies={"EHLO": "250-a\r\nHTTP/1.1 200 OK\r\n"}), down(Cause.NOT_SMTP)),
    ],
)
async def test_who_does_not_speak_smtp_is_down(peer: Peer, expected: Found):
    async with listening(peer) as port:
        assert await look(port) == expected


async def test_nobody_there_is_refused():
    async with listening(Peer()) as port:
        pass
    assert await look(port) == down(Cause.REFUSED)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def dribbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"2")
        await asyncio.sleep(0.001)


async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 relay.test\r\n")
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        (silent, Cause.NO_BANNER),
        (gone, Cause.NO_BANNER),
        (dribbling, Cause.NOT_SMTP),
        (deaf, Cause.TIMEOUT),
    ],
)
async def test_the_time_for_a_look_is_bounded(script: Script, cause: Cause):
    async with listening(script) as port:
        assert await look(port, limit_s=0.2) == down(cause)


async def test_a_name_without_an_address_is_down():
    url = parse_relay_url("smtp://no-such-relay.invalid")
    assert await probe(url, limit_s=30) == Found(RelayHealth.DOWN, Cause.NO_ADDRESS)


async def test_mandatory_tls_is_asked_for_and_inside_it_a_new_hello(tmp_path: Path):
    peer = Peer(extensions=("STARTTLS",), context=tls(tmp_path, "127.0.0.1"))
    async with listening(peer) as port:
        assert await look(port, "smtp+tls", ca_file=tmp_path / "ca.pem") == UP
    assert [line.split()[0] for line in peer.heard] == ["EHLO", "STARTTLS", "EHLO", "QUIT"]


async def test_tls_from_the_first_byte(tmp_path: Path):
    context = tls(tmp_path, "127.0.0.1")
    async with listening(Peer(), context) as port:
        assert await look(port, "smtps", ca_file=tmp_path / "ca.pem") == UP
        assert await look(port, "smtps", verify=False) == UP
        assert await look(port, "smtps") == down(Cause.CERTIFICATE)
        assert await look(port, limit_s=0.2) == down(Cause.NO_BANNER)


@pytest.mark.parametrize("schema", ["smtp+tls", "smtps"])
async def test_a_certificate_for_another_name_is_refused_where_it_is_checked(
    schema: str, tmp_path: Path
):
    context = tls(tmp_path, "other.test")
    peer = Peer(extensions=("STARTTLS",), context=context)
    async with listening(peer, context if schema == "smtps" else None) as port:
        checked = await look(port, schema, verify=True, ca_file=tmp_path / "ca.pem")
        assert checked == down(Cause.CERTIFICATE)
        assert await look(port, schema, verify=False) == UP


async def test_without_starttls_a_relay_that_needs_it_is_down():
    async with listening(Peer()) as port:
        assert await look(port, "smtp+tls") == down(Cause.STARTTLS_MISSING)
    peer = Peer(extensions=("STARTTLS",), replies={"STARTTLS": "454 later\r\n"})
    async with listening(peer) as port:
        assert await look(port, "smtp+tls") == down(Cause.STARTTLS_MISSING, 454)
        assert await look(port, "smtp") == UP


async def test_who_speaks_no_tls_on_a_port_for_it_is_down():
    async with listening(Peer()) as port:
        assert await look(port, "smtps", verify=False) == down(Cause.NOT_SMTP)


async def test_what_is_said_before_tls_is_not_taken_for_what_is_said_inside(tmp_path: Path):
    context = tls(tmp_path, "127.0.0.1")
    injected = "220 go\r\n250-relay.test\r\n250 AUTH PLAIN\r\n235 welcome\r\n"

    async def in_the_middle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(extensions=("STARTTLS",), replies={"STARTTLS": injected}, context=context)
        peer.replies["AUTH"] = "535 no\r\n"
        await peer(reader, writer)

    async with listening(in_the_middle) as port:
        found = await look(port, "smtp+tls", verify=False, login=("u", "p"))
    assert found.state is RelayHealth.DOWN


@pytest.mark.parametrize(
    ("mechanisms", "replies", "expected"),
    [
        ("AUTH PLAIN LOGIN", {"AUTH": "235 hello\r\n"}, UP),
        ("AUTH PLAIN", {"AUTH": "535 no\r\n"}, down(Cause.AUTH_REFUSED, 535)),
        ("AUTH LOGIN", {"AUTH": "334 VXNlcg==\r\n", "dQ==": "334 Pass\r\n"}, UP),
        ("AUTH LOGIN", {"AUTH": "504 no\r\n"}, down(Cause.AUTH_REFUSED, 504)),
        ("AUTH GSSAPI", {}, down(Cause.AUTH_REFUSED)),
        ("PIPELINING", {}, down(Cause.AUTH_REFUSED)),
    ],
)
async def test_a_login_is_tried_where_it_is_asked_for(
    mechanisms: str, replies: dict[str, str], expected: Found, tmp_path: Path
):
    peer = Peer(extensions=(mechanisms,), replies=replies)
    async with listening(peer, tls(tmp_path, "127.0.0.1")) as port:
        assert await look(port, "smtps", verify=False, login=("u", "p")) == expected
        before = len(peer.heard)
        assert await look(port, "smtps", verify=False) == UP
    assert [line.split()[0] for line in peer.heard[before:]] == ["EHLO", "QUIT"]


async def test_no_login_leaves_without_mandatory_tls():
    async with listening(Peer(extensions=("AUTH PLAIN",))) as port:
        with pytest.raises(CannotProbe):
            await look(port, login=("u", "p"))


@pytest.mark.parametrize(
    "host",
    [
        "169.254.1.1",
        "[fe80::1]",
        "224.0.0.1",
        "[ff02::1]",
        "0.0.0.0",
        "[::]",
    ],
)
async def test_what_is_no_relay_is_not_probed(host: str):
    found = await probe(parse_relay_url(f"smtp://{host}"))
    assert (found.state, found.cause) == (RelayHealth.UNKNOWN, None)


async def test_networks_are_left_out_by_what_the_name_resolves_to():
    heard = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(writer)

    async with listening(keep) as port:
        url = parse_relay_url(f"smtp://localhost:{port}")
        leave_out = (ip_network("127.0.0.0/8"), ip_network("::1"))
        found = await probe(url, leave_out=leave_out)
    assert found.state is RelayHealth.UNKNOWN
    assert LOCAL in found.addresses
    assert heard == []


async def test_the_address_that_was_checked_is_the_one_connected_to(
    monkeypatch: pytest.MonkeyPatch,
):
    """A name server may answer otherwise a moment later."""
    answers = [["192.0.2.1", "127.0.0.1"], ["169.254.169.254"]]
    asked = []

    def answer(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(2, 1, 6, "", (text, port)) for text in answers[len(asked) - 1]]

    monkeypatch.setattr("socket.getaddrinfo", answer)
    async with listening(Peer()) as port:
        url = parse_relay_url(f"smtp://rebinding.test:{port}")
        found = await probe(url, leave_out=(ip_network("192.0.2.0/24"),))
    assert found == Found(RelayHealth.UP, addresses=(ip_address("192.0.2.1"), LOCAL))
    assert asked == ["rebinding.test"]


async def test_a_relay_with_an_address_that_is_not_probed_is_never_called_down(
    monkeypatch: pytest.MonkeyPatch,
):
    """smtpd would try that one as well."""
    monkeypatch.setattr(
        "socket.getaddrinfo",
        lambda _host, port, **_: [
            (2, 1, 6, "", (text, port)) for text in ("169.254.1.1", "127.0.0.1")
        ],
    )
    async with listening(Peer()) as port:
        pass
    found = await probe(parse_relay_url(f"smtp://two.test:{port}"))
    assert (found.state, found.cause) == (RelayHealth.UNKNOWN, None)


async def test_of_several_addresses_one_is_enough(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "socket.getaddrinfo",
        lambda _host, port, **_: [
            (2, 1, 6, "", (text, port)) for text in ("127.0.0.9", "127.0.0.1")
        ],
    )
    async with listening(Peer()) as port:
        found = await probe(parse_relay_url(f"smtp://two.test:{port}"))
    assert found.state is RelayHealth.UP


async def test_a_missing_ca_is_no_fault_of_the_relay(tmp_path: Path):
    with pytest.raises(CannotProbe):
        await look(1, "smtps", ca_file=tmp_path / "gone.pem")
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(CannotProbe):
        await look(1, "smtps", ca_file=tmp_path / "bad.pem")
