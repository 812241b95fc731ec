"""From PATCH sent to the resolver answering by it, against a durable commit of raw SQLite."""

import http.client
import sqlite3
import tempfile
import time
from pathlib import Path

from bench.resolve_http import fill
from bench.rounds import Figure, interleave
from bench.servers import Server, relaymap

_EDITS = 40


def measure() -> Figure:
    """Wall time of one edit until a question sees it, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        raw = _raw_database(Path(folder) / "raw.db")
        with relaymap(Path(folder) / "state") as server:
            fill(server, server.connect(), 100)
            return interleave(
                "PATCH until resolve answers by it",
                "wall ms an edit",
                {
                    "PATCH, then resolve until it shows": lambda: _edits(server),
                    "one durable row of raw sqlite3": lambda: _commits(raw),
                },
            )


def _edits(server: Server) -> float:
    connection = server.connect()
    spent = 0.0
    for number in range(_EDITS):
        port = 2000 + number % 2
        patch = {"action": {"via": f"smtp://mx9.example.net:{port}"}}
        started = time.perf_counter()
        server.call(
            connection, "PATCH", "/v1/rules/rule-00050", patch, "application/merge-patch+json"
        )
        while _answered_port(server, connection) != port:
            pass
        spent += time.perf_counter() - started
    return spent / _EDITS * 1e3


def _answered_port(server: Server, connection: http.client.HTTPConnection) -> object:
    question = {
        "sender": "joe@customer50.example",
        "recipient": "someone@elsewhere.example",
    }
    answer = server.call(connection, "POST", "/v1/resolve", question)
    host = answer["mx"]
    return host["port"] if isinstance(host, dict) else None


def _raw_database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE rules (name TEXT PRIMARY KEY, document TEXT)")
    return connection


def _commits(connection: sqlite3.Connection) -> float:
    started = time.perf_counter()
    for number in range(_EDITS):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT OR REPLACE INTO rules VALUES (?, ?)", ("rule-00050", str(number))
        )
        connection.execute("COMMIT")
    return (time.perf_counter() - started) / _EDITS * 1e3
