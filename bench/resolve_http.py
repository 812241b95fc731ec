"""One envelope a request over HTTP, authorised, among 10,000 rules and 1,000,000 entries.

Against a bare ASGI app on the same server that reads the same body and answers the same octets as a
constant, against the endpoint that a tutorial would make, and beside them HAProxy with a map.
"""

import asyncio
import http.client
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.crowd import CONNECTIONS, Crowd, get, post
from bench.haproxy import haproxy
from bench.large import ENTRIES, HOPS, RULES, key, questions
from bench.large import fill as fill_large
from bench.rounds import Figure, Limit, interleave
from bench.routings import map_document, rule_document
from bench.servers import Server, apart, bare, idiomatic, relaymap
from bench.unpacked import NotFetched

_REQUESTS = 4_000
_OURS, _IDIOMATIC, _BARE = "POST /v1/resolve", "idiomatic FastAPI", "bare ASGI POST"


def measure() -> Figure:
    """Processor time of the server a request, in microseconds."""
    notes = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        state_dir = folder / "state"
        state_dir.mkdir(mode=0o700)
        asyncio.run(fill_large(state_dir))
        ours = stack.enter_context(relaymap(state_dir))
        usual = stack.enter_context(idiomatic(state_dir))
        asked = questions(_REQUESTS)
        requests = [post("/v1/resolve", json.dumps(each).encode(), ours.token) for each in asked]
        with Crowd(ours.port, 1) as one:
            least = stack.enter_context(bare(one.ask(requests[1:2])))
        servers = [ours, usual, least]
        runs = {_OURS: _cost(ours, requests), _IDIOMATIC: _cost(usual, requests)}
        try:
            of_key = {key(n): HOPS[n % len(HOPS)] for n in range(ENTRIES)}
            peer = stack.enter_context(haproxy(folder, of_key))
            keys = [each["recipient"].partition("@")[2] for each in asked]
            servers.append(peer)
            runs["HAProxy map()"] = _cost(peer, [get(f"/?key={each}") for each in keys])
        except NotFetched as missing:
            notes.append(f"left out: {missing}")
        runs[_BARE] = _cost(least, requests)
        limits = {_OURS: Limit(times=2), _IDIOMATIC: Limit(least_times=2.5, against=_OURS)}
        name = f"one envelope a request, {RULES:,} rules and {ENTRIES:,} entries"
        stack.enter_context(apart(*servers))
        figure = interleave(name, "server CPU µs a request", runs, limits=limits)
        return figure.noting(*notes)


def _cost(server: Server, requests: Sequence[bytes]) -> Callable[[], float]:
    def run() -> float:
        with Crowd(server.port, CONNECTIONS) as crowd:
            before = server.cpu_s()
            crowd.ask(requests)
            return (server.cpu_s() - before) / len(requests) * 1e6

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
