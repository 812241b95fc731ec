"""How long the event loop stands still while a million entries are loaded, followed and edited.

A ticker on the loop wants its turn every few milliseconds; how much later than that it came at most
is the stall. The last line is a thread that only computes: what the machine and Python cost alone.
"""

import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path

import uvloop

from app.routing.change import Kind, Subject
from app.routing.next_hop import parse_entry_hop
from app.routing.writes import Put
from app.server.edit import Editor
from app.server.main import open_store
from app.settings import ServerSettings
from bench import million
from bench.rounds import Figure, Limit

ENTRIES = 1_000_000
_TICK_S = 0.005
_AFTERWARDS_S = 1.5
"""What is replaced is let go of a second later."""
_ROUNDS = 3
_EDITS = 50
_LIMIT_MS = 50
_PORTS = count(2000)


def measure() -> Figure:
    """The longest stall of each kind of work, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        state_dir = million.state_dir(Path(folder), ENTRIES)
        rounds = [_round(state_dir) for _ in range(_ROUNDS)]
    medians = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    limited = list(medians)[:-1]
    return Figure(
        f"longest stall of the event loop with {ENTRIES:,} entries",
        "wall ms",
        medians,
        dict.fromkeys(limited, Limit(at_most=_LIMIT_MS)),
        _ROUNDS,
    )


def _round(state_dir: Path) -> Mapping[str, float]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_stalls(state_dir))


async def _stalls(state_dir: Path) -> Mapping[str, float]:
    settings = ServerSettings(state_dir=state_dir)
    store = await open_store(settings)
    try:
        editor: Editor | None = None

        async def load() -> None:
            nonlocal editor
            editor = await Editor.start(store)

        stalls = {"load": await longest(load)}
        assert editor is not None
        here = editor

        async def edits() -> None:
            for _ in range(_EDITS):
                await _edit(here)

        async def follow() -> None:
            assert await here.follow()

        stalls["edits"] = await longest(edits)
        with closing(sqlite3.connect(settings.store_url)) as connection:
            # As after a restore: nothing that is known holds, and all is read anew.
            connection.execute("UPDATE head SET history = hex(randomblob(16))")
            connection.commit()
        stalls["follow"] = await longest(follow)
        stalls["a thread that computes"] = await longest(lambda: asyncio.to_thread(_compute))
        return stalls
    finally:
        await store.close()


async def _edit(editor: Editor) -> None:
    hop = parse_entry_hop(f"smtp://mx9.example.net:{next(_PORTS)}")
    put = Put(Subject(Kind.ENTRY, million.TABLE.name, million.key(1)), hop)
    await editor.edit(lambda _: [put], author="bench")


def _compute() -> None:
    ends = time.monotonic() + 2
    while time.monotonic() < ends:
        pass


async def longest(work: Callable[[], Awaitable[object]]) -> float:
    """The longest that the loop stood still while some work was done, in milliseconds."""
    late = 0.0

    async def tick() -> None:
        nonlocal late
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(_TICK_S)
            late = max(late, time.perf_counter() - asked - _TICK_S)

    ticker = asyncio.create_task(tick())
    try:
        await asyncio.sleep(2 * _TICK_S)
        await work()
        await asyncio.sleep(_AFTERWARDS_S)
    finally:
        ticker.cancel()
    return late * 1e3
