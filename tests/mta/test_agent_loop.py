"""A real server, a real agent, a real smtpd: what is pushed is served, whoever is away meanwhile."""

from collections.abc import Iterator

import pytest

from tests.mta.agents.fleet import MTA, Fleet
from tests.mta.agents.machine import A, B, Machine
from tests.mta.bed.namespace import Namespace


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        yield Machine.open(namespace, A, B)


@pytest.fixture
def fleet(machine: Machine) -> Fleet:
    fleet = Fleet.open(machine.namespace)
    fleet.start_server()
    fleet.enroll()
    fleet.start_agent()
    return fleet


def route_to(fleet: Fleet, url: str) -> None:
    body = {
        "match": {"clients": ["any"], "recipients": ["x.test"]},
        "action": {"kind": "relay", "via": url},
    }
    fleet.good("PUT", "/v1/rules/out", body)


def test_what_is_pushed_is_served(machine: Machine, fleet: Fleet):
    route_to(fleet, A.url())
    push = fleet.push()
    assert (push["state"], push["mtas"][0]["reload"]) == ("applied", "restart")
    assert machine.goes_to("x.test") == "a"
    status = fleet.good("GET", f"/v1/mtas/{MTA}/status")
    assert (status["state"], status["observed"]["revision"]) == ("live", 1)
    assert "127.0.0.1" in status["addresses"]
