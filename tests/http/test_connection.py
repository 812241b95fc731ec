"""What somebody without a token, or without HTTP, can have of the server: a problem, and an end."""

import asyncio
import gc
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from weakref import finalize

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.server.connection import MAX_HEAD, WHOLE, Connection

pytestmark = pytest.mark.anyio


class Quick(Connection):
    head_limit_s = 0.3
    stall_limit_s = 0.3


async def answer(scope: object, receive: object, send: object) -> None:
    """An application that answers everything alike, but for what has no end, or a body."""
    path = scope["path"]  # type: ignore[index]
    if path == "/endless":
        await endless(receive, send)
        return
    if path == "/never":
        while (await receive())["type"] != "http.disconnect":  # type: ignore[operator]
            pass
        return
    if path == "/late":
        await ASKED.wait()
    if path != "/":
        sized = [(b"x-request-id", b"1"), (b"content-length", b"4")]
        whole = scope["state"][WHOLE]()  # type: ignore[index]
        if path == "/whole" and whole(scope, sized, b"body"):
            WHOLES.append(path)
            return
        await send({"type": "http.response.start", "status": 200, "headers": sized})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b"body"})  # type: ignore[operator]
        return
    await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]


async def endless(receive: object, send: object) -> None:
    """Answer until the client is gone."""
    start = {"type": "http.response.start", "status": 200, "headers": []}
    await send(start)  # type: ignore[operator]
    gone = asyncio.ensure_future(receive())  # type: ignore[operator]
    while not gone.done() or gone.result()["type"] != "http.disconnect":
        if gone.done():
            gone = asyncio.ensure_future(receive())  # type: ignore[operator]
        body = {"type": "http.response.body", "body": b"x" * 65536, "more_body": True}
        await send(body)  # type: ignore[operator]
        await asyncio.sleep(0)
    ENDED.set()


ENDED = asyncio.Event()
ASKED = asyncio.Event()
WHOLES: list[str] = []
"""Answers that were sent as a whole."""


@pytest.fixture
def connections() -> list[Connection]:
    """Every connection there was."""
    return []


@pytest.fixture
async def port(connections: list[Connection]) -> AsyncIterator[int]:
    config = uvicorn.Config(answer, http=Quick, log_config=None, timeout_keep_alive=1)
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"now")]
    loop = asyncio.get_running_loop()

    def connection() -> Connection:
        connections.append(Quick(config=config, server_state=state, app_state={}))
        return connections[-1]

    made = await loop.create_server(connection, "127.0.0.1", 0)
    async with made:
        yield made.sockets[0].getsockname()[1]


async def said(port: int, *parts: bytes) -> bytes:
    """What is answered until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return await reader.read()
    finally:
        writer.close()


def problem(raw: bytes) -> dict[str, object]:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    read: dict[str, object] = json.loads(body)
    return read


@pytest.mark.parametrize(
    "odd",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"EHLO mx.test\r\n\r\n",
        b"GET /\xff HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_problem(port: int, odd: bytes) -> None:
    assert problem(await said(port, odd))["code"] == "bad-request"


async def test_a_head_without_end_is_a_problem(port: int) -> None:
    begun = b"GET / HTTP/1.1\r\nX-Long: "
    found = problem(await said(port, begun, *[b"a" * 4096] * (MAX_HEAD // 4096)))
    assert found["detail"] == "the head of the request is too long"


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
async def test_who_sends_no_whole_head_is_not_waited_for(port: int, begun: bytes) -> None:
    assert await said(port, begun) == b""


async def test_a_request_that_comes_in_time_is_answered(port: int) -> None:
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert (await said(port, *[bytes([octet]) for octet in head])).startswith(b"HTTP/1.1 204 ")


async def test_a_second_request_on_a_connection_has_a_time_of_its_own(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
        await asyncio.sleep(0.2)
    writer.close()


async def test_a_whole_answer_is_one_packet(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(1, 4):
        writer.write(request("/whole"))
        assert (await reader.readuntil(b"\r\n\r\nbody")).startswith(b"HTTP/1.1 200 ")
        assert data_packets(writer.get_extra_info("socket")) == number
    writer.close()


def request(path: str, *headers: bytes) -> bytes:
    """A request of these headers."""
    lines = [f"GET {path} HTTP/1.1".encode(), b"Host: localhost", *headers]
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def data_packets(link: socket.socket) -> int:
    """How many packets with data came: `tcpi_data_segs_in` of Linux' struct tcp_info."""
    info = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    count: int = struct.unpack_from("=I", info, 152)[0]
    return count


async def test_a_whole_answer_has_the_octets_of_one_in_parts(port: int) -> None:
    WHOLES.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for path in ("/whole", "/parts"):
        writer.write(request(path))
        found.append(await asyncio.wait_for(reader.readuntil(b"\r\n\r\nbody"), 20))
    writer.close()
    assert found[0] == found[1]
    assert b"\r\ndate: now\r\n" in found[0]
    assert WHOLES == ["/whole"]


async def test_who_asks_before_he_has_an_answer_gets_each_in_its_turn(port: int) -> None:
    WHOLES.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(b"".join(map(request, ("/whole", "/", "/parts", "/whole"))))
        for status, body in ((200, b"body"), (204, b""), (200, b"body"), (200, b"body")):
            found = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n" + body), 20)
            assert found.startswith(b"HTTP/1.1 %d " % status)
    writer.close()
    assert WHOLES == ["/whole"] * 2, "behind each other one there is one more"


async def test_who_wants_no_more_is_answered_and_left(port: int) -> None:
    WHOLES.clear()
    found = await said(port, request("/whole", b"Connection: close"))
    assert found.endswith(b"\r\nconnection: close\r\n\r\nbody")
    assert WHOLES == []


async def test_a_connection_is_kept_no_longer_after_a_whole_answer(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/whole"))
    assert (await asyncio.wait_for(reader.read(), 20)).endswith(b"body")
    writer.close()


UNWANTED = {
    "blank lines": (request("/parts"), b"\r\n"),
    "a body that nobody wants": (
        b"PUT /parts HTTP/1.1\r\nContent-Length: 1000\r\n\r\n",
        b"x",
    ),
    "trailers": (
        b"PUT /parts HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"X-A: b\r\n",
    ),
}


@pytest.mark.parametrize("what", UNWANTED)
async def test_who_goes_on_with_what_nobody_wants_is_not_waited_for(port: int, what: str) -> None:
    asked, more = UNWANTED[what]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked)
    await reader.readuntil(b"body")
    left = asyncio.ensure_future(reader.read())
    async with asyncio.timeout(20):
        while not left.done():
            writer.write(more)
            await asyncio.sleep(0.1)
    writer.close()


@pytest.mark.parametrize("path", ["/parts", "/never"])
async def test_trailers_are_not_kept_and_have_an_end(
    port: int, path: str, connections: list[Connection]
) -> None:
    """Of an answered request, and of one that waits for its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"PUT {path} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    writer.write(head + b"0\r\n")
    sent, line = 0, b"X-A: " + b"a" * 1000 + b"\r\n"
    with suppress(ConnectionError):
        async with asyncio.timeout(20):
            while not reader.at_eof() and not writer.is_closing():
                writer.write(line)
                await writer.drain()
                sent += len(line)
                await asyncio.sleep(0)
    assert sent < 100 * MAX_HEAD
    assert len(connections[-1].headers) == 1
    writer.close()


async def test_a_head_without_end_takes_no_answer_from_the_one_before(port: int) -> None:
    ASKED.clear()
    found = asyncio.ensure_future(
        said(port, request("/late"), b"GET / HTTP/1.1\r\n", b"X-Long: ", *[b"a" * 65536] * 3)
    )
    assert b" 400 " not in await asyncio.wait_for(found, 20)
    ASKED.set()


async def test_a_connection_that_is_closed_is_no_more(
    port: int, connections: list[Connection]
) -> None:
    """Without the help of the garbage collection, which leaves out what a frozen heap has."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/whole"))
    await reader.readuntil(b"body")
    ended = asyncio.Event()
    finalize(connections[-1], ended.set)
    gc.disable()
    try:
        connections.clear()
        writer.close()
        await asyncio.wait_for(ended.wait(), 20)
    finally:
        gc.enable()


async def test_who_does_not_read_is_cut_off(port: int) -> None:
    """Neither the answer nor the connection waits for ever."""
    ENDED.clear()
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.wait_for(ENDED.wait(), 20)
    writer.close()
