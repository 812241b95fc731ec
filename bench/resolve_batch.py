"""A hundred distinct envelopes a request, against tools that look up the same million keys in bulk."""

import asyncio
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time

from bench import exim
from bench.crowd import CONNECTIONS, Crowd, post
from bench.large import ENTRIES, HOPS, batches, fill, key, questions
from bench.postmap import Postmap, children_s, fetched
from bench.rounds import Figure, Limit, interleave
from bench.servers import Server, relaymap

_ASKED, _BATCH = 20_000, 100
_FEW = 2
_BRIEF = "brief answers"


def measure() -> Figure:
    """Resolutions a second by the clock, without the start of anybody; and what each one costs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        state_dir = folder / "state"
        state_dir.mkdir(mode=0o700)
        asyncio.run(fill(state_dir))
        ours = stack.enter_context(relaymap(state_dir))
        asked = questions(_ASKED)
        bodies = batches(asked, _BATCH)
        costs, in_short = Costs(), "/v1/resolve/batch?fields=brief"
        runs = {
            _BRIEF: _asked(ours, in_short, bodies, costs),
            f"{_BRIEF}, {_FEW} connections": _asked(ours, in_short, bodies, Costs(), _FEW),
            "whole answers": _asked(ours, "/v1/resolve/batch", bodies, Costs()),
        }
        name = f"{_BATCH} distinct envelopes a request, {CONNECTIONS} connections"
        postmap = fetched(folder)
        if postmap is None:
            figure = interleave(name, "resolutions a second", runs)
            return figure.noting("no postmap could be fetched: it is left out")
        source = folder / "domains"
        keys = "".join(each["recipient"].partition("@")[2] + "\n" for each in asked).encode()
        _write(source, addresses=True)
        postmap.build(source, "cdb")
        runs |= _tested(folder, source, "".join(f"{each['recipient']}\n" for each in asked))
        runs["postmap -q - cdb:"] = _looked_up(postmap, source, keys, "cdb", Costs())
        _write(source, addresses=False)
        postmap.build(source, "lmdb")
        runs["postmap -q - lmdb:"] = _looked_up(postmap, source, keys, "lmdb", costs)
        limits = {_BRIEF: Limit(least_times=0.7, goal="1 x")}
        figure = interleave(name, "resolutions a second", runs, limits=limits)
        return figure.noting(costs.text())


@dataclass(slots=True)
class Costs:
    """Processor time of each round, in seconds, of the two that are held against each other."""

    server: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)
    tool: list[float] = field(default_factory=list)

    def text(self) -> str:
        """The medians for one resolution."""
        server, client, tool = (
            statistics.median(each) / _ASKED * 1e6 for each in (self.server, self.client, self.tool)
        )
        return (
            f"CPU µs each: brief {server:.2f}, and {client:.2f} of the client beside it;"
            f" lmdb {tool:.2f}"
        )


def _write(source: Path, *, addresses: bool) -> None:
    """What each key leads to: a relay URL, or as Exim takes it, an address."""
    hops = [f"203.0.113.{n + 1}" for n in range(len(HOPS))] if addresses else HOPS
    pairs = sorted((key(n), hops[n % len(hops)]) for n in range(ENTRIES))
    source.write_text("".join(f"{name} {hop}\n" for name, hop in pairs), "ascii")


def _asked(
    server: Server,
    path: str,
    bodies: Sequence[bytes],
    costs: Costs,
    connections: int = CONNECTIONS,
) -> Callable[[], float]:
    requests = [post(path, body, server.token) for body in bodies]

    def run() -> float:
        with Crowd(server.port, connections) as crowd:
            server_s, client_s, started = server.cpu_s(), process_time(), perf_counter()
            crowd.ask(requests)
            took = perf_counter() - started
            costs.client.append(process_time() - client_s)
            costs.server.append(server.cpu_s() - server_s)
            return _ASKED / took

    return run


def _looked_up(
    postmap: Postmap, source: Path, keys: bytes, kind: str, costs: Costs
) -> Callable[[], float]:
    """Without the start, as a run for one key takes it."""
    one = keys[: keys.index(b"\n") + 1]

    def run() -> float:
        start_s, start_cpu_s = _query(postmap, source, one, kind)
        took_s, cpu_s = _query(postmap, source, keys, kind)
        costs.tool.append(cpu_s - start_cpu_s)
        return (_ASKED - 1) / (took_s - start_s)

    return run


def _query(postmap: Postmap, source: Path, keys: bytes, kind: str) -> tuple[float, float]:
    """By the clock and of the processor, in seconds."""
    cpu_s, started = children_s(), perf_counter()
    said = postmap.query(source, keys, kind)
    took = perf_counter() - started
    _all_of(keys.count(b"\n"), said.count(b"\n"))
    return took, children_s() - cpu_s


def _tested(folder: Path, source: Path, addresses: str) -> dict[str, Callable[[], float]]:
    found = exim.fetched(folder, source.with_name(f"{source.name}.cdb"))
    if found is None:
        return {}
    asked = addresses.encode()
    return {
        "exim4 -bt, cdb, start included": _timed(
            lambda: found.query(asked).count(b"router = by_domain")
        )
    }


def _timed(ask: Callable[[], int]) -> Callable[[], float]:
    def run() -> float:
        started = perf_counter()
        _all_of(_ASKED, ask())
        return _ASKED / (perf_counter() - started)

    return run


def _all_of(asked: int, found: int) -> None:
    if found != asked:
        raise RuntimeError(f"{found} of {asked} keys were found")
