"""Resolution over HTTP, authorised, among 10,000 rules and 1,000,000 entries.

One envelope a request, against a bare ASGI app on the same server, and against the endpoint that a
tutorial would make; a hundred a request, against postmap on the same million keys.
"""

import asyncio
import http.client
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

from bench.crowd import Crowd, post
from bench.large import ENTRIES, HOPS, RULES, batches, key, questions
from bench.large import fill as fill_large
from bench.postmap import Postmap, fetched
from bench.rounds import Figure, Limit, interleave
from bench.routings import map_document, rule_document
from bench.servers import Server, bare, idiomatic, relaymap

_REQUESTS = 4_000
_CONNECTIONS = 16
_IN_BATCHES, _BATCH = 20_000, 100
_OURS, _IDIOMATIC, _BARE = "POST /v1/resolve", "idiomatic FastAPI", "bare ASGI POST"


def measure() -> Sequence[Figure]:
    """Processor time of the server a request; and resolutions a second of batches."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        state_dir = folder / "state"
        state_dir.mkdir(mode=0o700)
        asyncio.run(fill_large(state_dir))
        ours = stack.enter_context(relaymap(state_dir))
        return [_single(stack, ours, state_dir), _batches(ours, folder)]


def _single(stack: ExitStack, ours: Server, state_dir: Path) -> Figure:
    bodies = [json.dumps(each).encode() for each in questions(_REQUESTS)]
    with Crowd(ours.port, 1) as one:
        answer = one.ask([post("/v1/resolve", bodies[1], ours.token)])
    least = stack.enter_context(bare(answer))
    usual = stack.enter_context(idiomatic(state_dir))
    return interleave(
        f"one envelope a request, {RULES:,} rules and {ENTRIES:,} entries",
        "server CPU µs a request",
        {
            _OURS: _cost(ours, "/v1/resolve", bodies),
            _IDIOMATIC: _cost(usual, "/v1/resolve", bodies),
            _BARE: _cost(least, "/v1/resolve", bodies),
        },
        limits={
            _OURS: Limit(times=2.0),
            _IDIOMATIC: Limit(least_times=2.5, against=_OURS),
        },
    )


def _cost(server: Server, path: str, bodies: Sequence[bytes]) -> Callable[[], float]:
    requests = [post(path, body, server.token) for body in bodies]

    def run() -> float:
        with Crowd(server.port, _CONNECTIONS) as crowd:
            before = server.cpu_s()
            crowd.ask(requests)
            return (server.cpu_s() - before) / len(requests) * 1e6

    return run


def _batches(ours: Server, folder: Path) -> Figure:
    asked = questions(_IN_BATCHES)
    bodies = batches(asked, _BATCH)
    runs = {
        "brief answers": _rate(ours, "/v1/resolve/batch?fields=brief", bodies),
        "whole answers": _rate(ours, "/v1/resolve/batch", bodies),
    }
    name = f"{_BATCH} distinct envelopes a request"
    postmap = fetched(folder)
    if postmap is None:
        figure = interleave(name, "resolutions a second", runs)
        return figure.noting("no postmap could be fetched: it is left out")
    source = folder / "domains"
    pairs = sorted((key(n), HOPS[n % len(HOPS)]) for n in range(ENTRIES))
    source.write_text("".join(f"{name} {hop}\n" for name, hop in pairs), "ascii")
    keys = "".join(each["recipient"].partition("@")[2] + "\n" for each in asked).encode()
    for kind in ("cdb", "lmdb"):
        postmap.build(source, kind)
        runs[f"postmap -q - {kind}:"] = _looked_up(postmap, source, keys, kind)
    return interleave(
        name,
        "resolutions a second",
        runs,
        limits={"brief answers": Limit(least_times=0.7, goal="1 x")},
    )


def _rate(server: Server, path: str, bodies: Sequence[bytes]) -> Callable[[], float]:
    requests = [post(path, body, server.token) for body in bodies]

    def run() -> float:
        with Crowd(server.port, 2) as crowd:
            started = perf_counter()
            crowd.ask(requests)
            return _IN_BATCHES / (perf_counter() - started)

    return run


def _looked_up(postmap: Postmap, source: Path, keys: bytes, kind: str) -> Callable[[], float]:
    def run() -> float:
        started = perf_counter()
        found = postmap.query(source, keys, kind).count(b"\n")
        if found != _IN_BATCHES:
            raise RuntimeError("postmap did not find every key")
        return _IN_BATCHES / (perf_counter() - started)

    return run


def fill(server: Server, connection: http.client.HTTPConnection, rules: int) -> None:
    """Write the map and that many rules."""
    server.call(connection, "PUT", "/v1/relay-maps/pool", map_document())
    for first in range(0, rules, 1000):
        changes = [
            {"put": f"rules/{rule_document(n)['name']}", "body": rule_document(n)}
            for n in range(first, min(rules, first + 1000))
        ]
        server.call(connection, "POST", "/v1/changes", {"changes": changes})
