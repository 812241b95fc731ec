"""The live file of a million entries, written by the agent, against `postmap lmdb:` of the same.

An agent gets entries in order, and an operator's file is in none; in order, `postmap` is quicker.
"""

import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app.agent.live_file import LiveFile
from app.routing.model import model_json, read_model
from bench.asking import TABLE, content_of, entries, keyed
from bench.postmap import Postmap, fetched
from bench.rounds import Figure, Limit, interleave

_ENTRIES = 1_000_000
_NAME, _UNIT = "live file of 1,000,000 entries", "CPU s"
_OURS, _SORTED, _THEIRS = "the agent", "postmap, entries in order", "postmap, entries in no order"


def measure() -> Figure:
    """Seconds of processor time, of the system's as well."""
    of_domain = entries(_ENTRIES)
    document = json.loads("".join(model_json(keyed(of_domain))))
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, Callable[[], float]] = {_OURS: lambda: _ours(document)}
        postmap = fetched(Path(folder))
        if postmap is None:
            figure = interleave(_NAME, _UNIT, runs, 3)
            return figure.noting("no postmap with LMDB could be fetched: it is left out")
        lines = [f"{name}\t{hop}\n" for name, hop in of_domain.items()]
        runs[_SORTED] = _theirs(postmap, Path(folder, "in-order"), lines)
        random.Random(1).shuffle(lines)
        runs[_THEIRS] = _theirs(postmap, Path(folder, "in-no-order"), lines)
        return interleave(_NAME, _UNIT, runs, 3, {_OURS: Limit(times=0.5)})


def _ours(document: object) -> float:
    with tempfile.TemporaryDirectory() as state_dir:
        file = LiveFile(Path(state_dir), group=os.getgid())
        file.open()
        table = read_model(document, 1)  # as an agent has it from its server
        _ = table.entries_of(TABLE.name).digest  # which it has compared
        content = content_of(table)
        started = time.process_time()
        file.write(content)
        spent = time.process_time() - started
        file.close()
    return spent


def _theirs(postmap: Postmap, source: Path, lines: Sequence[str]) -> Callable[[], float]:
    source.write_text("".join(lines), "ascii")

    def run() -> float:
        Path(f"{source}.lmdb").unlink(missing_ok=True)
        return postmap.build(source)

    return run
