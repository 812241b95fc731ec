"""One question by hand, start of the process included: `relaymap resolve` against `postmap -q`."""

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.large import ENTRIES, HOPS, fill, key
from bench.postmap import fetched
from bench.rounds import Figure, Limit, interleave
from bench.servers import relaymap

_TIMES = 20
_OURS = "relaymap resolve"
_SCRIPT = "import sys\nfrom app.__main__ import main\nsys.exit(main())\n"
_ROOT = Path(__file__).resolve().parents[1]


def measure() -> Figure:
    """Wall time of one, among a million entries; and its processor time."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        state_dir = folder / "state"
        state_dir.mkdir(mode=0o700)
        asyncio.run(fill(state_dir))
        server = stack.enter_context(relaymap(state_dir))
        # As an installer writes it.
        script = folder / "relaymap"
        script.write_text(_SCRIPT, "ascii")
        environment = os.environ | {
            "PYTHONPATH": str(_ROOT),
            "RELAYMAP_SERVER": f"http://127.0.0.1:{server.port}",
            "RELAYMAP_STATE_DIR": str(state_dir),
        }
        asked = [sys.executable, str(script), "resolve", f"u@{key(5)}"]
        runs = {
            _OURS: _timed(asked, environment),
            "Python that does nothing": _timed([sys.executable, "-c", "pass"], environment),
        }
        postmap = fetched(folder)
        if postmap is None:
            figure = interleave("one question by hand", "wall ms", runs)
            return figure.noting("no postmap could be fetched: it is left out")
        source = folder / "domains"
        pairs = sorted((key(n), HOPS[n % len(HOPS)]) for n in range(ENTRIES))
        source.write_text("".join(f"{name} {hop}\n" for name, hop in pairs), "ascii")
        postmap.build(source)
        theirs = [str(postmap.program), "-q", key(5), f"lmdb:{source}"]
        runs["postmap -q lmdb:"] = _timed(theirs, postmap.environment)
        figure = interleave("one question by hand", "wall ms", runs, limits={_OURS: Limit(times=8)})
        ours, least = _cpu_ms(asked, environment), _cpu_ms(theirs, postmap.environment)
        return figure.noting(
            f"processor time: {ours:.1f} ms against {least:.1f} ms, {ours / least:.1f} x"
        )


def _timed(command: Sequence[str], environment: dict[str, str]) -> Callable[[], float]:
    def run() -> float:
        started = time.perf_counter()
        for _ in range(_TIMES):
            _run(command, environment)
        return (time.perf_counter() - started) / _TIMES * 1e3

    return run


def _cpu_ms(command: Sequence[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(_TIMES):
        _run(command, environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent / _TIMES * 1e3


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
