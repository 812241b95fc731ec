"""The way to the server, over real sockets: what it says is believed, or it is away."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.agent.link import Backoff, Link, LinkDown, LinkRefused
from app.wire import MtaState, Report

pytestmark = [pytest.mark.io, pytest.mark.anyio]

CANARY = "canary-password"
OFFER = {
    "push": 3,
    "history": "h",
    "revision": 7,
    "model_digest": "d",
    "model": {},
    "secrets": [{"label": "lab", "revision": 1, "username": "u", "password": CANARY}],
}


class Server:
    """Answers every request with one status and body, and remembers what was asked."""

    def __init__(self) -> None:
        self.status = "204 No Content"
        self.body = b""
        self.asked: list[str] = []
        self.asked_at = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        writer.write(f"HTTP/1.1 {self.status}\r\nConnection: close\r\n".encode())
        writer.write(f"Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body)
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[Server, Link]]:
    (tmp_path / "token").write_text("rly_token\n")
    server = Server()
    listening = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    server.asked_at = port
    link = Link(f"http://127.0.0.1:{port}", tmp_path / "token")
    async with listening:
        yield server, link
    await link.close()


async def test_nothing_new_is_none(server: tuple[Server, Link]):
    there, link = server
    assert await link.wanted(5, 1) is None
    assert there.asked[0].startswith("GET /v1/agent/wanted?known=5&wait=1 HTTP/1.1")
    assert "Bearer rly_token" in there.asked[0]


async def test_what_is_wanted_is_read(server: tuple[Server, Link]):
    there, link = server
    there.status, there.body = "200 OK", json.dumps(OFFER | {"new": "member"}).encode()
    wanted = await link.wanted(0, 1)
    assert wanted is not None
    assert (wanted.push, wanted.secrets[0].label) == (3, "lab")
    assert CANARY not in repr(wanted)


async def test_an_answer_that_is_not_understood_is_not_quoted(server: tuple[Server, Link]):
    there, link = server
    there.status, there.body = "200 OK", json.dumps(OFFER | {"revision": CANARY}).encode()
    with pytest.raises(LinkRefused, match="revision") as caught:
        await link.wanted(0, 1)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("401 Unauthorized", LinkRefused),
        ("409 Conflict", LinkRefused),
        ("503 Service Unavailable", LinkDown),
        ("302 Found", LinkRefused),
    ],
)
async def test_a_refusal_and_trouble_are_told_apart(
    server: tuple[Server, Link], status: str, error: type[Exception]
):
    there, link = server
    there.status, there.body = status, b'{"detail": "the reason"}'
    with pytest.raises(error, match=status[:3]):
        await link.report(Report(agent="a", state=MtaState.LIVE))


async def test_an_answer_without_end_is_not_read_to_its_end(
    server: tuple[Server, Link], tmp_path: Path
):
    there, _ = server
    there.status, there.body = "200 OK", b"[" * 1_000_000
    port = there.asked_at
    link = Link(f"http://127.0.0.1:{port}", tmp_path / "token", max_answer=1000)
    with pytest.raises(LinkRefused, match="longer than 1000 octets"):
        await link.wanted(0, 1)
    await link.close()
    there.status = "409 Conflict"
    there.body = b"[" * 100_000  # deeper than a parser goes
    link = Link(f"http://127.0.0.1:{port}", tmp_path / "token")
    with pytest.raises(LinkRefused, match="409 Conflict"):
        await link.wanted(0, 1)
    await link.close()


async def test_without_a_server_the_link_is_down(tmp_path: Path):
    (tmp_path / "token").write_text("rly_token\n")
    link = Link("http://127.0.0.1:9", tmp_path / "token")
    with pytest.raises(LinkDown):
        await link.wanted(0, 1)
    await link.close()


@pytest.mark.parametrize("text", [None, "", "two words\nlines"])
async def test_without_a_token_nothing_is_asked(
    server: tuple[Server, Link], tmp_path: Path, text: str | None
):
    there, link = server
    if text is None:
        (tmp_path / "token").unlink()
    else:
        (tmp_path / "token").write_text(text)
    with pytest.raises(LinkRefused, match="token"):
        await link.wanted(0, 1)
    assert there.asked == []


def test_waiting_grows_to_a_limit_and_begins_anew_once_it_worked():
    backoff = Backoff()
    waits = [backoff.next_s() for _ in range(12)]
    assert 0.5 <= waits[0] <= 1
    assert 30 <= waits[-1] <= 60
    backoff.reset()
    assert backoff.next_s() <= 1
