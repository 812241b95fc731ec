"""From a relay taken out over HTTP to smtpd serving without it, against doing the same by hand.

Needs root and OpenSMTPD: it runs a real server, agent and smtpd in namespaces of their own.
"""

import time
from collections.abc import Callable

from bench.rounds import Figure, interleave
from tests.mta.agents.fleet import MTA, Fleet
from tests.mta.agents.machine import STATE_DIR, A, B, Machine
from tests.mta.bed.namespace import Namespace

_PUSHES = 5
_STATE = "/v1/relay-maps/pool/relays/a/state"


def measure() -> Figure:
    """Wall time of one change until it is in force and confirmed, in milliseconds."""
    with Namespace.open() as namespace:
        Machine.open(namespace, A, B)
        fleet = Fleet.open(namespace)
        fleet.start_server()
        fleet.enroll()
        fleet.start_agent()
        _write_routing(fleet)
        if fleet.push()["state"] != "applied":
            raise RuntimeError("the first push was not applied")
        by_hand = _by_hand(namespace)
        return interleave(
            "push of one relay's state until it is in force on the MTA",
            "wall ms a change",
            {
                "PUT state?push=wait until applied": lambda: _changes(fleet),
                "file renamed and smtpctl update table": by_hand,
            },
        )


def _write_routing(fleet: Fleet) -> None:
    relays = [{"name": sink.name, "url": sink.url()} for sink in (A, B)]
    fleet.good("PUT", "/v1/relay-maps/pool", {"policy": "round-robin", "relays": relays})
    action = {"kind": "relay", "via": "map:pool"}
    match = {"recipients": ["x.test"]}
    fleet.good("PUT", "/v1/rules/out", {"match": match, "action": action})


def _changes(fleet: Fleet) -> float:
    started = time.perf_counter()
    for number in range(_PUSHES):
        state = "active" if number % 2 else "out"
        reason = str(time.monotonic_ns())
        fleet.good("PUT", f"{_STATE}?push=wait", {"state": state, "reason": reason})
    spent = time.perf_counter() - started
    observed = fleet.good("GET", f"/v1/mtas/{MTA}/status")["observed"]
    if observed is None:
        raise RuntimeError("the agent reports nothing")
    return spent / _PUSHES * 1e3


def _by_hand(namespace: Namespace) -> Callable[[], float]:
    """The same list written anew under its name by a shell, and smtpd told of it."""
    path = f"{STATE_DIR}/live/m-pool"
    script = f"cp -pL {path} {path}.new && mv {path}.new {path} && smtpctl update table rm-m-pool"

    def run() -> float:
        started = time.perf_counter()
        for _ in range(_PUSHES):
            namespace.run(["sh", "-c", script])
        return (time.perf_counter() - started) / _PUSHES * 1e3

    return run
