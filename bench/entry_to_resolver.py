"""From PUT of one entry until resolve answers by it: among a million entries, and among a hundred.

The row is on disk before the answer to PUT.
"""

import tempfile
import time
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path

from bench import million
from bench.rounds import Figure, Limit, interleave
from bench.servers import Server, relaymap

MANY, FEW = 1_000_000, 100
_EDITS = 20
_PORTS = count(2000)


def measure() -> Figure:
    """Wall time of one edit until a question sees it, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        runs = {}
        for entries in (MANY, FEW):
            state_dir = million.state_dir(Path(folder), entries)
            server = stack.enter_context(relaymap(state_dir))
            runs[f"among {entries:,} entries"] = partial(_edits, server)
        return interleave(
            "PUT of one entry until resolve answers by it",
            "wall ms an edit",
            runs,
            limits={f"among {MANY:,} entries": Limit(times=3)},
        )


def _edits(server: Server) -> float:
    connection = server.connect()
    key = million.key(FEW // 2)
    question = {"sender": "joe@a.test", "recipient": f"joe@{key}"}
    spent = 0.0
    for _ in range(_EDITS):
        url = f"smtp://mx9.example.net:{next(_PORTS)}"
        started = time.perf_counter()
        server.call(
            connection, "PUT", f"/v1/tables/{million.TABLE.name}/entries/{key}", {"via": url}
        )
        while url not in str(server.call(connection, "POST", "/v1/resolve", question)):
            pass
        spent += time.perf_counter() - started
    return spent / _EDITS * 1e3
