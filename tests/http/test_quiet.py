"""A question touches no disk, no socket, no database, and waits for no writer."""

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, event

from app.settings import ServerSettings
from tests.http.agents import Agent
from tests.http.samples import PLAIN_MAP, TABLE, made, shop

pytestmark = pytest.mark.anyio

QUESTIONS: list[dict[str, str | bool]] = [
    {"recipient": "joe@example.net", "sender": "ann@shop.example"},
    {"recipient": "joe@example.net", "sender": "ann@shop.example", "explain": True},
    {"recipient": "joe@sample.example", "sender": "ann@table.example"},
    {"recipient": "joe@example.net", "sender": "nobody@elsewhere.example"},
    {"recipient": "no address"},
    {"recipient": "joe@example.net", "sender": "ann@shop.example", "mta": "mx-head"},
    {"recipient": "joe@example.net", "sender": "ann@shop.example", "mta": "mx-behind"},
]
_DEEDS = ("open", "os.", "socket.", "sqlite3.", "subprocess.")

_seen: list[str] | None = None


def _note(deed: str, _: tuple[object, ...]) -> None:
    if _seen is not None and deed.startswith(_DEEDS):
        _seen.append(deed)


sys.addaudithook(_note)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Every deed of this process, in any thread, that the question is to do without."""
    global _seen  # noqa: PLW0603  an audit hook cannot be removed, only disarmed
    seen: list[str] = []

    def statement(*given: object) -> None:
        seen.append(str(given[2]))

    event.listen(Engine, "before_cursor_execute", statement)
    _seen = seen
    try:
        yield seen
    finally:
        _seen = None
        event.remove(Engine, "before_cursor_execute", statement)


@pytest.fixture
async def asked(api: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client whose token is known, of a server that has answered before."""
    await shop(api)
    await made(api, "tables/by-domain", TABLE)
    to_table = {"kind": "relay", "via": "table:by-domain"}
    await made(api, "rules/t", {"match": {"senders": ["table.example"]}, "action": to_table})
    behind, newest = await Agent.of(api, "mx-behind"), await Agent.of(api, "mx-head")
    await api.post("/v1/pushes")
    await behind.apply()
    await made(api, "rules/u", {"match": {"tags": ["x"]}, "action": to_table})
    await api.post("/v1/pushes")
    await newest.apply()
    for question in QUESTIONS:
        assert (await api.post("/v1/resolve", json=question)).status_code == 200
    return api


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
async def test_a_question_touches_no_disk_no_socket_and_no_database(
    asked: httpx.AsyncClient, question: dict[str, str | bool]
) -> None:
    with watched() as seen:
        posted = await asked.post("/v1/resolve", json=question)
        got = await asked.get("/v1/resolve", params=question)
    assert (posted.status_code, got.status_code) == (200, 200)
    assert seen == []


async def test_what_is_looked_for_is_seen(asked: httpx.AsyncClient, tmp_path: Path) -> None:
    with watched() as seen:
        assert (await asked.get("/readyz")).status_code == 200
    assert any("SELECT" in deed for deed in seen), "it asks the store"
    with watched() as seen, closing(sqlite3.connect(tmp_path / "x.db")):
        (tmp_path / "x").touch()
    assert {"sqlite3.connect", "open"} <= set(seen)


async def test_a_question_does_not_wait_for_a_writer(
    asked: httpx.AsyncClient, settings: ServerSettings
) -> None:
    """Another process holds the database; a write of ours waits for it under its own lock."""
    with closing(
        sqlite3.connect(settings.state_dir / "relaymap.db", isolation_level=None)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        write = asyncio.create_task(asked.put("/v1/relay-maps/new", json=PLAIN_MAP))
        await asyncio.sleep(0.2)
        for question in QUESTIONS:
            answer = await asyncio.wait_for(asked.post("/v1/resolve", json=question), 1)
            assert answer.status_code == 200
        assert not write.done()
        other.execute("ROLLBACK")
        assert (await write).status_code == 201
