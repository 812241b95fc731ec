"""A hundred distinct envelopes a request, against tools that look up the same million keys in bulk."""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

from bench import exim
from bench.crowd import Crowd, post
from bench.large import ENTRIES, HOPS, batches, fill, key, questions
from bench.postmap import Postmap, fetched
from bench.rounds import Figure, Limit, interleave
from bench.servers import Server, relaymap

_ASKED, _BATCH = 20_000, 100
_CONNECTIONS = 2
_BRIEF = "brief answers"


def measure() -> Figure:
    """Resolutions a second; of the tools, their start included."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        state_dir = folder / "state"
        state_dir.mkdir(mode=0o700)
        asyncio.run(fill(state_dir))
        ours = stack.enter_context(relaymap(state_dir))
        asked = questions(_ASKED)
        bodies = batches(asked, _BATCH)
        runs = {
            _BRIEF: _asked(ours, "/v1/resolve/batch?fields=brief", bodies),
            "whole answers": _asked(ours, "/v1/resolve/batch", bodies),
        }
        name = f"{_BATCH} distinct envelopes a request"
        postmap = fetched(folder)
        if postmap is None:
            figure = interleave(name, "resolutions a second", runs)
            return figure.noting("no postmap could be fetched: it is left out")
        source = folder / "domains"
        keys = "".join(each["recipient"].partition("@")[2] + "\n" for each in asked).encode()
        _write(source, addresses=True)
        postmap.build(source, "cdb")
        runs |= _tested(folder, source, "".join(f"{each['recipient']}\n" for each in asked))
        runs["postmap -q - cdb:"] = _looked_up(postmap, source, keys, "cdb")
        _write(source, addresses=False)
        postmap.build(source, "lmdb")
        runs["postmap -q - lmdb:"] = _looked_up(postmap, source, keys, "lmdb")
        limits = {_BRIEF: Limit(least_times=0.7, goal="1 x")}
        return interleave(name, "resolutions a second", runs, limits=limits)


def _write(source: Path, *, addresses: bool) -> None:
    """What each key leads to: a relay URL, or as Exim takes it, an address."""
    hops = [f"192.0.2.{n + 1}" for n in range(len(HOPS))] if addresses else HOPS
    pairs = sorted((key(n), hops[n % len(hops)]) for n in range(ENTRIES))
    source.write_text("".join(f"{name} {hop}\n" for name, hop in pairs), "ascii")


def _asked(server: Server, path: str, bodies: Sequence[bytes]) -> Callable[[], float]:
    requests = [post(path, body, server.token) for body in bodies]

    def run() -> float:
        with Crowd(server.port, _CONNECTIONS) as crowd:
            started = perf_counter()
            crowd.ask(requests)
            return _ASKED / (perf_counter() - started)

    return run


def _looked_up(postmap: Postmap, source: Path, keys: bytes, kind: str) -> Callable[[], float]:
    return _timed(lambda: postmap.query(source, keys, kind).count(b"\n"))


def _tested(folder: Path, source: Path, addresses: str) -> dict[str, Callable[[], float]]:
    found = exim.fetched(folder, source.with_name(f"{source.name}.cdb"))
    if found is None:
        return {}
    asked = addresses.encode()
    return {"exim4 -bt, cdb": _timed(lambda: found.query(asked).count(b"router = by_domain"))}


def _timed(ask: Callable[[], int]) -> Callable[[], float]:
    def run() -> float:
        started = perf_counter()
        if ask() != _ASKED:
            raise RuntimeError("not every key was found")
        return _ASKED / (perf_counter() - started)

    return run
