"""A database with a table of many entries, made row by row beside the server, in seconds."""

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from app.routing.change import Kind, Subject
from app.routing.document import read_relay_map, read_rule
from app.routing.table import Table, TableKey
from app.routing.writes import Put
from app.server.main import open_services
from app.settings import ServerSettings
from bench.routings import map_document

TABLE = Table("domains", TableKey.RECIPIENT_DOMAIN)
_AT = "2026-11-22 12:00:00.000000"


def state_dir(folder: Path, entries: int) -> Path:
    """A new state directory below a folder, with a table of that many entries."""
    made = folder / f"entries-{entries}"
    made.mkdir(mode=0o700)
    asyncio.run(_begin(made))
    settings = ServerSettings(state_dir=made)
    with closing(sqlite3.connect(settings.store_url)) as connection:
        connection.executemany(
            f"INSERT INTO entries VALUES ('{TABLE.name}', ?, ?, 1, '{_AT}', '{_AT}')",
            sorted(_rows(entries)),
        )
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return made


def key(number: int) -> str:
    """The key of an entry."""
    return f"customer{number}.example"


def _rows(entries: int) -> Iterator[tuple[str, str]]:
    chance = random.Random(entries)
    for number in range(entries):
        yield key(number), f"smtp://mx{chance.randrange(10_000)}.example.net:25"


async def _begin(made: Path) -> None:
    relay_map = read_relay_map(map_document())
    rule = read_rule(
        {
            "name": "by-domain",
            "match": {"senders": ["a.test"]},
            "action": {"kind": "relay", "via": f"table:{TABLE.name}"},
        }
    )
    async with open_services(ServerSettings(state_dir=made)) as services:
        await services.editor.edit(
            lambda _: [
                Put(Subject(Kind.RELAY_MAP, relay_map.name), relay_map),
                Put(Subject(Kind.TABLE, TABLE.name), TABLE),
                Put(Subject(Kind.RULE, rule.name), rule),
            ],
            author="bench",
        )
