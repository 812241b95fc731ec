"""One resolution over HTTP, authorised, at 100 rules, against a bare ASGI app on the same server."""

import http.client
import tempfile
from pathlib import Path

from bench.rounds import Figure, interleave
from bench.routings import map_document, rule_document
from bench.servers import Server, bare, relaymap

_REQUESTS = 1_000
_RULES = 100


def measure() -> Figure:
    """Processor time of the server a request, in microseconds."""
    with tempfile.TemporaryDirectory() as folder, relaymap(Path(folder)) as ours, bare() as least:
        fill(ours, ours.connect(), _RULES)
        return interleave(
            "resolve over HTTP",
            "server CPU µs a request",
            {
                "POST /v1/resolve, 100 rules": lambda: _cost(ours),
                "bare ASGI POST": lambda: _cost(least),
            },
        )


def fill(server: Server, connection: http.client.HTTPConnection, rules: int) -> None:
    """Write the map and that many rules."""
    server.call(connection, "PUT", "/v1/relay-maps/pool", map_document())
    for first in range(0, rules, 1000):
        changes = [
            {"put": f"rules/{rule_document(n)['name']}", "body": rule_document(n)}
            for n in range(first, min(rules, first + 1000))
        ]
        server.call(connection, "POST", "/v1/changes", {"changes": changes})


def _cost(server: Server) -> float:
    connection = server.connect()  # kept for one turn: an idle one is closed by the server
    before = server.cpu_s()
    for number in range(_REQUESTS):
        question = {
            "sender": f"joe@a.customer{number % _RULES}.example",
            "recipient": "someone@elsewhere.example",
        }
        server.call(connection, "POST", "/v1/resolve", question)
    return (server.cpu_s() - before) / _REQUESTS * 1e6
