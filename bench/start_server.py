"""From the start of the server to its first right answer with a million entries loaded."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from app.settings import ServerSettings
from bench import million
from bench.rounds import Figure, Limit, interleave
from bench.servers import relaymap

ENTRIES = 1_000_000
_RAW = """
import sqlite3, sys
rows = sqlite3.connect(sys.argv[1]).execute(
    "SELECT table_name, key, via, revision, created_at, updated_at FROM entries"
)
found = {row[:2]: row[2:] for row in rows}
assert len(found) == int(sys.argv[2])
"""


def measure() -> Figure:
    """Seconds of wall time; the process of either is started."""
    with tempfile.TemporaryDirectory() as folder:
        state_dir = million.state_dir(Path(folder), ENTRIES)
        database = ServerSettings(state_dir=state_dir).store_url
        return interleave(
            f"start until resolve answers by one of {ENTRIES:,} entries",
            "wall s",
            {
                "server": lambda: _server(state_dir),
                "the same rows by raw sqlite3 into a dict": lambda: _raw(database),
            },
            rounds=5,
            limits={"server": Limit(times=3)},
        )


def _server(state_dir: Path) -> float:
    started = time.perf_counter()
    with relaymap(state_dir) as server:
        question = {"sender": "joe@a.test", "recipient": f"joe@{million.key(ENTRIES // 2)}"}
        answer = server.call(server.connect(), "POST", "/v1/resolve", question)
        spent = time.perf_counter() - started
    if answer["outcome"] != "relay":
        raise RuntimeError("the first answer was not the right one")
    return spent


def _raw(database: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", _RAW, database, str(ENTRIES)], check=True)
    return time.perf_counter() - started
