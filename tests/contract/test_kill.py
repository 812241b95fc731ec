"""A server killed in the middle of its writes has lost nothing that it said was stored."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.routing.change import apply
from app.routing.routing_table import EMPTY
from tests.contract.conftest import Database

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
SEED = 20261122


@dataclass
class Acknowledged:
    """What a writer said was stored: by revision, the edit's own id."""

    edits: dict[int, str] = field(default_factory=dict)
    kills: int = 0


@contextmanager
def writer(database: Database, variant: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "tests.contract.doomed_writer"]
    with subprocess.Popen(
        [*argv, database.url, str(database.key_file), variant],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0


def kill_once(process: subprocess.Popen[str], chance: random.Random, said: Acknowledged) -> None:
    """Let it write for a while, and kill it at some point of one of its writes."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    pid = 0
    spared = chance.randint(2, 12)
    for line in process.stdout:
        word, *rest = line.split()
        if word == "begun":
            pid = int(rest[0])
        elif word == "dead":
            assert spared < 0, "it ended before it was killed"
            said.kills += 1
            return
        else:
            said.edits[int(rest[0])] = rest[1]
            spared -= 1
            if spared == 0:
                time.sleep(chance.uniform(0, 0.004))
                os.kill(pid, signal.SIGKILL)
                spared = -1
    raise AssertionError("the writer did not come up")


async def lost(database: Database, said: Acknowledged) -> list[int]:
    """The acknowledged revisions that are not there, once all else was found in order."""
    async with database.editor() as editor:
        table = editor.live.current().table
        store = editor._store
        rows = {row.revision: row for row in await store.revisions(100_000)}
        assert sorted(rows) == list(range(1, table.revision + 1)), "no gap, no ghost"
        assert len({row.message for row in rows.values()}) == len(rows), "nothing stored twice"
        replayed = apply(EMPTY, await store.changes_since(0, table.revision), table.revision)
        assert replayed == table, "the rows are what the journal says"
        for secret in await store.secrets(table.credentials):
            assert secret.password == rows[secret.revision].message, "sealed with its revision"
        for name, found in table.maps.items():
            message = rows[table.credentials[name].revision].message
            assert found.description == message, "an edit is there whole"
    return [n for n, edit in said.edits.items() if n not in rows or rows[n].message != edit]


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_nothing_that_was_acknowledged_is_lost_to_kill_9(database: Database) -> None:
    chance = random.Random(SEED)
    said = Acknowledged()
    with writer(database, "honest") as process:
        for number in range(1, KILLS + 1):
            kill_once(process, chance, said)
            # What is lost stays lost: its number is given to another edit.
            if number % 5 == 0:
                assert await lost(database, said) == []
    assert said.kills == KILLS
    assert len(said.edits) >= 2 * KILLS


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_writer_that_acknowledges_too_early_is_found_out(database: Database) -> None:
    chance = random.Random(SEED)
    said = Acknowledged()
    with writer(database, "early") as process:
        for _ in range(KILLS):
            kill_once(process, chance, said)
            if await lost(database, said):
                return
    pytest.fail(f"{said.kills} kills, and no lost write was noticed")
