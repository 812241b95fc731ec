"""A real server, a real agent, a real smtpd: what is pushed is served, whoever is away meanwhile."""

import signal
from collections.abc import Iterator

import pytest

from tests.mta.agents.fleet import MTA, Fleet
from tests.mta.agents.machine import STATE_DIR, A, B, Machine, operator
from tests.mta.bed.namespace import Namespace

# The agent, but that it looks every half second.
LOOKS_OFTEN = """
from functools import partial
from app.agent import main
from app.cli import main as run

main.Loop = partial(main.Loop, report_every_s=0.5)
raise SystemExit(run(["agent"]))
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        yield Machine.open(namespace, A, B)


@pytest.fixture(scope="module")
def fleet(machine: Machine) -> Fleet:
    fleet = Fleet.open(machine.namespace)
    fleet.start_server()
    fleet.enroll()
    fleet.start_agent()
    return fleet


def test_what_is_pushed_is_served(machine: Machine, fleet: Fleet):
    fleet.route_to(A.url())
    push = fleet.push()
    assert (push["state"], push["mtas"][0]["reload"]) == ("applied", "restart")
    assert machine.goes_to("x.test") == "a"
    status = fleet.good("GET", f"/v1/mtas/{MTA}/status")
    assert (status["state"], status["observed"]["revision"]) == ("live", push["revision"])
    assert "127.0.0.1" in status["addresses"]


def test_what_smtpd_refused_is_not_tried_again_until_somebody_pushes(
    machine: Machine, fleet: Fleet
):
    fleet.serve(A.url())
    machine.smtpd.configure(operator('action "broken" relay nonsense'))
    fleet.route_to(B.url())
    push = fleet.push()
    assert push["state"] == "refused"
    assert "/run/bed/smtpd.conf" in push["mtas"][0]["detail"]
    machine.smtpd.configure(operator())
    # A new agent remembers it as well.
    assert fleet.stop(fleet.agent) == 0
    fleet.start_agent()
    fleet.until(machine.greets)
    assert machine.goes_to("x.test") == "a"
    fleet.until(lambda: fleet.state() == "behind")
    assert fleet.good("GET", f"/v1/pushes/{push['id']}")["state"] == "refused"
    assert fleet.push()["state"] == "applied"
    assert machine.goes_to("x.test") == "b"


def test_the_server_being_away_changes_nothing(machine: Machine, fleet: Fleet):
    fleet.serve(A.url())
    fleet.stop(fleet.server, signal.SIGKILL)
    assert machine.goes_to("x.test") == "a"
    fleet.start_server()
    fleet.serve(B.url())
    assert machine.goes_to("x.test") == "b"


def test_the_agent_being_killed_changes_nothing(machine: Machine, fleet: Fleet):
    fleet.serve(A.url())
    pids = machine.pids()
    fleet.stop(fleet.agent, signal.SIGKILL)
    assert machine.goes_to("x.test") == "a"
    assert machine.pids() == pids
    fleet.route_to(B.url())
    waiting = fleet.good("POST", "/v1/pushes", {})
    assert waiting["state"] == "running"
    fleet.start_agent()
    pushed = fleet.good("GET", f"/v1/pushes/{waiting['id']}?wait=30")
    assert pushed["state"] == "applied"
    assert machine.goes_to("x.test") == "b"


def test_an_smtpd_that_dies_is_started_again(machine: Machine, fleet: Fleet):
    fleet.serve(A.url())
    before = machine.pids()
    machine.end_smtpd()
    fleet.until(lambda: len(machine.pids()) == len(before))
    fleet.until(machine.greets)
    assert machine.goes_to("x.test") == "a"


def test_a_second_agent_of_one_state_directory_does_not_begin(machine: Machine, fleet: Fleet):
    fleet.serve(A.url())
    first = fleet.agent
    fleet.start_agent()
    second, fleet.agent = fleet.agent, first
    assert second is not None
    assert second.wait() != 0
    assert "another agent works on /run/agent" in fleet.log()
    assert machine.goes_to("x.test") == "a"


def test_told_to_end_the_agent_ends_smtpd_with_it(machine: Machine, fleet: Fleet):
    fleet.serve(A.url())
    assert fleet.stop(fleet.agent) == 0
    assert machine.pids() == []
    fleet.start_agent()
    fleet.until(lambda: fleet.state() == "live" and machine.pids() != [])


def seen_at(fleet: Fleet) -> str:
    found: str = fleet.good("GET", f"/v1/mtas/{MTA}/status")["seen_at"]
    return found


def test_a_file_changed_by_hand_is_told_before_anybody_pushes(machine: Machine, fleet: Fleet):
    fleet.serve(A.url())
    assert fleet.stop(fleet.agent) == 0
    fleet.start_agent("-c", LOOKS_OFTEN)
    for _ in range(2):  # once because it is there, and once because the time had come
        before = seen_at(fleet)
        fleet.until(lambda before=before: seen_at(fleet) != before)  # type: ignore[misc]
    with machine.namespace.outside(f"{STATE_DIR}/live/relaymap.conf").open("a") as conf:
        conf.write("# by hand\n")
    fleet.until(lambda: fleet.state() == "drifted")
    status = fleet.good("GET", f"/v1/mtas/{MTA}/status")
    assert status["detail"] == "changed by hand: relaymap.conf"
    assert machine.goes_to("x.test") == "a"
