"""Imports into a server of its own: kills, cut connections, others meanwhile, bounded memory."""

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.http.servers import Server
from tests.http.test_kill import get

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

PATH = "/v1/tables/by-domain"
ROWS = 20_000
MANY = 100_000
MORE_MB = 100
"""What reading and storing may take beside what stays, at the most: far less than the file twice."""


def call(
    server: Server, method: str, path: str, body: object = None, kind: str = "application/json"
) -> tuple[int, dict[str, object]]:
    link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": kind}
    if not isinstance(body, bytes):
        body = json.dumps(body)
    link.request(method, path, body, headers)
    answer = link.getresponse()
    raw = answer.read()
    link.close()
    return answer.status, json.loads(raw) if raw else {}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as running:
        assert call(running, "PUT", PATH, {"key": "recipient-domain"})[0] == 201
        yield running


def rows(count: int, letter: str = "d") -> bytes:
    numbers = list(range(count))
    random.Random(7).shuffle(numbers)
    line = '{{"key":"{}{}.example","via":"smtp://mx{}.example.net"}}\n'
    return "".join(line.format(letter, n, n % 7) for n in numbers).encode()


def count(server: Server) -> int:
    return int(str(get(server, f"{PATH}/stats")["entries"]))


def head(server: Server) -> int:
    return int(str(get(server, "/v1/revisions?limit=1")["items"][0]["revision"]))  # type: ignore[index]


def resident(server: Server, name: str) -> int:
    """MB of memory, as the kernel says under that name."""
    assert server._process is not None
    text = Path(f"/proc/{server._process.pid}/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) // 1024


def start_sending(server: Server, content: bytes, sent: float) -> socket.socket:
    """Begin an import, and send that part of its body, up to the end of a line."""
    part = content[: content.rfind(b"\n", 0, int(len(content) * sent)) + 1]
    link = socket.create_connection(("127.0.0.1", server.port), 60)
    head = (
        f"POST {PATH}/import HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    link.sendall(head.encode() + part)
    return link


def test_killed_at_any_moment_an_import_is_whole_or_not_there(server: Server) -> None:
    ends: set[int] = set()
    for part, pause in [(0.5, 0.2), (1, 0.0), (1, 0.15), (1, 0.3), (1, 0.6), (1, 1.2), (1, 2.5)]:
        before, there = head(server), count(server)
        letter = f"k{part}-{pause}-".replace(".", "")
        link = start_sending(server, rows(ROWS, letter), part)
        time.sleep(pause)
        server.kill()
        link.close()
        server.start()
        grown = count(server) - there
        assert grown in {0, ROWS}
        assert head(server) == before + (grown > 0)
        ends.add(grown)
    assert 0 in ends, "none was killed in time"


def test_a_body_that_is_cut_off_stores_nothing(server: Server) -> None:
    before = head(server)
    start_sending(server, rows(ROWS), 0.9).close()
    link = start_sending(server, rows(ROWS), 0.5)
    status, report = call(server, "POST", f"{PATH}/import", rows(10, "e"), "application/x-ndjson")
    assert (status, report["created"]) == (200, 10), "nobody waits for a body that comes in"
    link.close()
    time.sleep(0.5)
    assert (count(server), head(server)) == (10, before + 1)
    assert "unforeseen-error" not in server.log


def test_others_are_served_meanwhile_and_memory_is_bounded(server: Server) -> None:
    call(server, "POST", f"{PATH}/import", rows(1_000, "warm"), "application/x-ndjson")
    content, done, asked = rows(MANY), threading.Event(), []

    def ask() -> None:
        question = {"recipient": "joe@elsewhere.example"}
        while not done.is_set():
            asked.append(call(server, "POST", "/v1/resolve", question)[0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        status, report = call(server, "POST", f"{PATH}/import", content, "application/x-ndjson")
    finally:
        done.set()
        asking.join(60)
    assert (status, report["created"]) == (200, MANY)
    assert len(asked) > 20
    assert set(asked) == {200}
    assert resident(server, "VmHWM") - resident(server, "VmRSS") < MORE_MB


def test_a_line_without_an_end_takes_no_memory(server: Server) -> None:
    before = resident(server, "VmHWM")
    content = b"x" * (64 << 20)
    status, problem = call(server, "POST", f"{PATH}/import", content, "text/plain")
    assert (status, problem["code"]) == (422, "import-refused")
    assert resident(server, "VmHWM") - before < 32


def test_an_export_that_nobody_reads_on_takes_no_memory(server: Server) -> None:
    call(server, "POST", f"{PATH}/import", rows(MANY), "application/x-ndjson")
    before = resident(server, "VmRSS")
    links = []
    for _ in range(4):
        link = socket.create_connection(("127.0.0.1", server.port), 60)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.sendall(
            f"GET {PATH}/export HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {server.token}\r\n\r\n".encode()
        )
        assert link.recv(1000).startswith(b"HTTP/1.1 200 ")
        links.append(link)
    time.sleep(1)
    assert resident(server, "VmRSS") - before < 48
    assert call(server, "PUT", f"{PATH}/entries/new.example", {"via": "mx"})[0] == 201
    for link in links:
        link.close()
    time.sleep(0.5)
    assert call(server, "GET", f"{PATH}/export")[0] == 200
    assert "unforeseen-error" not in server.log


def test_two_imports_and_a_hundred_edits_each_land_whole(server: Server) -> None:
    before = head(server)
    statuses: list[int] = []

    def importing(letter: str) -> Callable[[], None]:
        content = rows(ROWS, letter)
        return lambda: statuses.append(
            call(server, "POST", f"{PATH}/import", content, "application/x-ndjson")[0]
        )

    def editing(start: int) -> Callable[[], None]:
        def edit() -> None:
            for number in range(start, start + 25):
                path = f"{PATH}/entries/e{number}.example"
                statuses.append(call(server, "PUT", path, {"via": "mx"})[0])

        return edit

    work = [importing("x"), importing("y"), *(editing(start) for start in (0, 25, 50, 75))]
    threads = [threading.Thread(target=each) for each in work]
    for each in threads:
        each.start()
    for each in threads:
        each.join(120)
    assert sorted(statuses) == [200, 200, *[201] * 100]
    assert (count(server), head(server)) == (2 * ROWS + 100, before + 102)


def until(server: Server, wanted: int) -> dict[str, object]:
    """Send imports of one line until one is answered so; its answer."""
    for _ in range(500):
        status, said = call(server, "POST", f"{PATH}/import", rows(1), "application/x-ndjson")
        if status == wanted:
            return said
        assert status in {200, 503}
        time.sleep(0.02)
    raise AssertionError(f"never {wanted}")


def test_four_files_are_read_at_once_and_the_next_is_told_to_come_again(server: Server) -> None:
    before = head(server)
    content = rows(ROWS, "x")
    links = [start_sending(server, content, 0.5) for _ in range(3)]
    status, _ = call(server, "POST", f"{PATH}/import", rows(1), "application/x-ndjson")
    assert status == 200, "there is a place left"
    links.append(start_sending(server, content, 0.5))
    assert until(server, 503)["code"] == "imports-busy"
    link = start_sending(server, content, 1)
    link.sendall(content[content.rfind(b"\n", 0, len(content)) + 1 :])
    answer = http.client.HTTPResponse(link)
    answer.begin()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    answer.read()
    link.close()
    assert call(server, "PUT", f"{PATH}/entries/single.example", {"via": "mx"})[0] == 201
    for each in links:
        each.close()
    until(server, 200)
    links = [start_sending(server, content, 0.5) for _ in range(3)]
    until(server, 200)  # all four were free again; it may have seen the end of some later
    for each in links:
        each.close()
    assert (count(server), head(server)) == (2, before + 2)
    assert "unforeseen-error" not in server.log
