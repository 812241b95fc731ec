"""A database put back from a copy under a running agent: nothing diverges in silence."""

from collections.abc import Iterator

import pytest

from tests.mta.agents.fleet import AGENT_LOG, MTA, SERVER_DIR, Fleet
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


def test_after_a_restore_the_mta_keeps_serving_until_somebody_pushes(
    machine: Machine, fleet: Fleet
):
    fleet.serve(A.url())
    fleet.command("backup", "/run/bed/copy")
    fleet.serve(B.url())
    fleet.stop(fleet.server)
    fleet.command("restore", "/run/bed/copy")
    applied = fleet.log().count("push-applied")
    fleet.start_server()
    fleet.until(lambda: fleet.state() == "behind")
    assert machine.goes_to("x.test") == "b"
    status = fleet.good("GET", f"/v1/mtas/{MTA}/status")
    assert status["observed"]["history"] != (status["wanted"] or {}).get("history")
    assert fleet.log(AGENT_LOG).count("push-applied") == applied
    assert fleet.push()["state"] == "applied"
    assert (machine.goes_to("x.test"), fleet.state()) == ("a", "live")


def test_a_copied_database_file_is_found_out_by_the_agent_and_applied_when_pushed_again(
    machine: Machine, fleet: Fleet
):
    """The history is the same, its revisions are lower: only the agent can tell."""
    fleet.serve(A.url())
    fleet.stop(fleet.server)
    shell = f"cd {SERVER_DIR} && cp -a relaymap.db /run/bed/copied.db && rm -f relaymap.db-*"
    machine.namespace.run(["sh", "-c", shell])
    fleet.start_server()
    fleet.serve(B.url())
    fleet.stop(fleet.server)
    shell = f"cd {SERVER_DIR} && rm -f relaymap.db* && cp -a /run/bed/copied.db relaymap.db"
    machine.namespace.run(["sh", "-c", shell])
    fleet.start_server()
    fleet.until(lambda: fleet.state() == "behind")
    first = fleet.push()
    assert first["state"] == "refused"
    assert "push again" in first["mtas"][0]["detail"]
    assert machine.goes_to("x.test") == "b"
    assert fleet.push()["state"] == "applied"
    assert (machine.goes_to("x.test"), fleet.state()) == ("a", "live")
