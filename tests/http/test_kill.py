"""The server is killed again and again under concurrent writers: no acknowledged write is lost."""

import http.client
import json
import threading
import time
from pathlib import Path

import pytest

from tests.http.servers import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

KILLS = 10
WRITERS = 4
BETWEEN_KILLS = 15
"""Acknowledged writes, at the least."""

# As the server, but that it says that a write is stored before it is.
ACKNOWLEDGES_TOO_EARLY = """
import asyncio
from app.cli import main
from app.server.store.store import DatabaseStore

stored = DatabaseStore.commit
later = set()

async def commit(self, edit):
    async def store():
        await asyncio.sleep(2)
        await stored(self, edit)
    before = tuple(later)
    async def in_order():
        await asyncio.gather(*before, return_exceptions=True)
        await stored(self, edit)
    task = asyncio.ensure_future(in_order() if before else store())
    later.add(task)
    task.add_done_callback(later.discard)

DatabaseStore.commit = commit
raise SystemExit(main(["serve"]))
"""


class Writer(threading.Thread):
    """Writes relay maps, each under a name of its own, and notes which were acknowledged."""

    def __init__(self, server: Server, number: int, stop: threading.Event) -> None:
        super().__init__(name=f"writer-{number}")
        self._server = server
        self._number = number
        self._stopped = stop
        self.acknowledged: dict[str, int] = {}
        self.unforeseen: list[str] = []

    def run(self) -> None:
        headers = {
            "Authorization": f"Bearer {self._server.token}",
            "Content-Type": "application/json",
        }
        count = 0
        link = self._connect()
        while not self._stopped.is_set():
            count += 1
            name = f"w{self._number}-{count}"
            body = json.dumps({"relays": [{"url": f"smtp://{name}.example.net"}]})
            try:
                link.request("PUT", f"/v1/relay-maps/{name}", body, headers)
                answer = link.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                link.close()
                link = self._connect()
                time.sleep(0.02)
                continue
            if answer.status == 201:
                self.acknowledged[name] = int(answer.headers["Relay-Revision"])
            else:
                self.unforeseen.append(f"{answer.status} {text.decode()}")
        link.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=60)


def get(server: Server, path: str) -> dict[str, object]:
    link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    link.request("GET", path, headers={"Authorization": f"Bearer {server.token}"})
    answer = link.getresponse()
    body = answer.read()
    link.close()
    assert answer.status == 200, body
    read: dict[str, object] = json.loads(body)
    return read


def everything(server: Server, path: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    cursor = ""
    while True:
        page = get(server, f"{path}?limit=1000{cursor}")
        found += page["items"]  # type: ignore[arg-type]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def wait_for(writers: list[Writer], count: int) -> None:
    until = time.monotonic() + 90
    while sum(len(each.acknowledged) for each in writers) < count:
        assert time.monotonic() < until, "the writers stand still"
        time.sleep(0.01)


def kill_under_writers(server: Server, kills: int) -> tuple[list[Writer], int]:
    """Kill the server while it is written to, start it again; who wrote, and how often killed."""
    stop = threading.Event()
    writers = [Writer(server, number, stop) for number in range(WRITERS)]
    for each in writers:
        each.start()
    try:
        for _ in range(kills):
            acknowledged = sum(len(each.acknowledged) for each in writers)
            wait_for(writers, acknowledged + BETWEEN_KILLS)
            server.kill()
            server.start()
    finally:
        stop.set()
        for each in writers:
            each.join(90)
    return writers, kills


def lost(server: Server, writers: list[Writer]) -> list[str]:
    """The writes that were acknowledged and are not as they were written."""
    stored = {str(each["name"]): each for each in everything(server, "/v1/relay-maps")}
    missing: list[str] = []
    for writer in writers:
        for name, revision in writer.acknowledged.items():
            found = stored.get(name)
            if found is None or found["revision"] != revision:
                missing.append(name)
    return missing


def test_no_acknowledged_write_is_lost(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        writers, kills = kill_under_writers(server, KILLS)
        acknowledged = [rev for each in writers for rev in each.acknowledged.values()]
        assert (kills, len(acknowledged) >= kills * BETWEEN_KILLS) == (KILLS, True)
        assert [each.unforeseen for each in writers] == [[]] * WRITERS
        assert lost(server, writers) == []
        assert len(set(acknowledged)) == len(acknowledged), "two writes share a revision"
        journal = [int(str(row["revision"])) for row in everything(server, "/v1/revisions")]
        assert journal == list(range(journal[0], 0, -1)), "a revision is missing or twice"
        assert max(acknowledged) <= journal[0]
        stored = everything(server, "/v1/relay-maps")
        assert all(len(each["relays"]) == 1 for each in stored)  # type: ignore[arg-type]
        assert len(stored) == journal[0], "each revision made one map"
        assert server.stop() == 0


def test_a_server_that_acknowledges_too_early_is_caught(tmp_path: Path) -> None:
    with Server(tmp_path, "-c", ACKNOWLEDGES_TOO_EARLY) as server:
        writers, _ = kill_under_writers(server, 2)
        assert lost(server, writers) != []
