"""Import of a million entries over HTTP: wall against raw SQLite, memory, and who waits meanwhile.

Stalls are seen from outside: a process of its own asks /livez every five milliseconds, and the
longest answer counts. What the machine itself adds to that is seen by the same on an idle server.
"""

import http.client
import random
import select
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from os import nice
from pathlib import Path
from typing import Self

from bench.rounds import Figure, Limit, interleave
from bench.servers import Server, relaymap

ENTRIES = 1_000_000
_HOPS = 50
_EDITS = 200
_ROUNDS = 3
_PATH = "/v1/tables/domains"
_EVERY_S = 0.005
_TABLE = """
    CREATE TABLE entries (
        table_name TEXT NOT NULL, key TEXT NOT NULL, via TEXT NOT NULL, revision INTEGER NOT NULL,
        created_at TEXT NOT NULL, updated_at TEXT NOT NULL, PRIMARY KEY (table_name, key)
    ) WITHOUT ROWID
"""


def measure() -> Sequence[Figure]:
    """Wall of one import, memory over what stays, and the longest stall."""
    rows = [
        (f"customer{n:07}.example", f"smtp://mx{n % _HOPS}.example.net:25") for n in range(ENTRIES)
    ]
    shuffled = rows[:]
    random.Random(1).shuffle(shuffled)
    body = "".join(f'{{"key":"{key}","via":"{via}"}}\n' for key, via in shuffled).encode()
    wall = interleave(
        f"import of {ENTRIES:,} shuffled NDJSON entries over HTTP",
        "wall s",
        {
            "import into a server, journal and all": lambda: _imported(body),
            "executemany of raw sqlite3, sorted": lambda: _inserted(rows),
        },
        _ROUNDS,
        {"import into a server, journal and all": Limit(times=4)},
    )
    return [wall, *_watched(body)]


@contextmanager
def _server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder, relaymap(Path(folder) / "state") as server:
        server.call(server.connect(), "PUT", _PATH, {"key": "recipient-domain"})
        yield server


def _imported(body: bytes) -> float:
    with _server() as server:
        return _import(server, body)


def _import(server: Server, body: bytes) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    headers = {
        "Authorization": f"Bearer {server.token}",
        "Content-Type": "application/x-ndjson",
    }
    started = time.perf_counter()
    connection.request("POST", f"{_PATH}/import", body, headers)
    answer = connection.getresponse()
    said = answer.read()
    wall = time.perf_counter() - started
    if answer.status != http.client.OK or f'"created":{ENTRIES}'.encode() not in said:
        raise RuntimeError(f"the import was answered by {answer.status}")
    return wall


def _inserted(rows: Sequence[tuple[str, str]]) -> float:
    now = "2026-01-01 00:00:00.000000"
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(Path(folder) / "raw.db", isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute(_TABLE)
        whole = (("domains", key, via, 2, now, now) for key, via in rows)
        started = time.perf_counter()
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", whole)
        database.execute("COMMIT")
        wall = time.perf_counter() - started
        database.close()
    return wall


def _watched(body: bytes) -> Sequence[Figure]:
    """Memory and stalls, of one import that is watched all the while."""
    with _server() as server:
        empty = _memory_mb(server, "VmRSS")
        with _Prober(server) as idle:
            time.sleep(5)
        with _Prober(server) as importing:
            _import(server, body)
        peak, after = _memory_mb(server, "VmHWM"), _memory_mb(server, "VmRSS")
        with _Prober(server) as editing:
            connection = server.connect()
            for number in range(_EDITS):
                path = f"{_PATH}/entries/edited{number}.example"
                server.call(connection, "PUT", path, {"via": "mx"})
    memory = Figure(
        "memory of the server",
        "MB",
        {"peak during the import, over its state after it": peak - after, "state after it": after},
        {"peak during the import, over its state after it": Limit(at_most=100)},
        rounds=1,
        notes=(f"{(after - empty) * 2**20 / ENTRIES:.0f} bytes an entry, over the empty server",),
    )
    limit = Limit(at_most=50)
    stalls = Figure(
        "longest answer to /livez, asked from outside every 5 ms",
        "ms",
        {
            f"during {_EDITS} edits": editing.longest_ms,
            "during the import": importing.longest_ms,
            "of an idle server in 5 s": idle.longest_ms,
        },
        {"during the import": limit, f"during {_EDITS} edits": limit},
        rounds=1,
        notes=(f"99 of 100 answers during the import took {importing.most_ms:.1f} ms at most",),
    )
    return [memory, stalls]


def _memory_mb(server: Server, name: str) -> float:
    """As the kernel counts it under that name."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) / 1024


class _Prober:
    """Asks a server whether it lives, from a process of its own, as long as it is entered.

    Attributes:
        longest_ms: until an answer.
        most_ms: of 99 of 100 of them.
    """

    def __init__(self, server: Server) -> None:
        self._port = server.port
        self.longest_ms = self.most_ms = 0.0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.import_entries", str(self._port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it has begun
        return self

    def __exit__(self, *_: object) -> None:
        said, _nothing = self._process.communicate(b"")
        self.longest_ms, self.most_ms = map(float, said.split())


def _probe(port: int) -> None:
    """Ask until the standard input ends; prints the longest answer and that of 99 of 100, in ms."""
    with suppress(OSError):
        nice(-10)  # where this user may: the answers of the server are meant, not our own turn
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    seen: list[float] = []
    print("begun", flush=True)
    while not select.select([sys.stdin], [], [], _EVERY_S)[0]:
        started = time.perf_counter()
        link.request("GET", "/livez")
        link.getresponse().read()
        seen.append((time.perf_counter() - started) * 1e3)
    seen.sort()
    print(seen[-1], seen[len(seen) * 99 // 100])


if __name__ == "__main__":
    _probe(int(sys.argv[1]))
