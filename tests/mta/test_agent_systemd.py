"""The agent in its confined unit beside smtpd in a unit of its own, under a real systemd."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.mta.agents.fleet import Fleet
from tests.mta.agents.machine import A, B, Machine, operator
from tests.mta.agents.systemd import Systemd, UnitFailed
from tests.mta.agents.units import DOCUMENTED, STATE_DIR, units
from tests.mta.bed.namespace import Namespace

UNITS = ("relaymap.service", "relaymap-agent.service")
SMTPD = "/run/bed/smtpd-unit"
# Its start fails where mail would go to the second sink.
SCRIPT = f"""\
#!/bin/sh
grep -q {B.address} {STATE_DIR}/live/relaymap.conf && exit 1
exec /usr/sbin/smtpd "$@"
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        machine = Machine.open(namespace, A, B)
        machine.smtpd.configure(operator(include=f"{STATE_DIR}/live/relaymap.conf"))
        machine.smtpd.write(SMTPD, SCRIPT, mode=0o755)
        yield machine


@pytest.fixture(scope="module")
def systemd(machine: Machine) -> Iterator[Systemd]:
    try:
        opened = Systemd.open(machine.namespace, units(*UNITS, smtpd=SMTPD))
    except UnitFailed as failed:
        pytest.skip(f"systemd does not come up in a container here: {failed}")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def fleet(machine: Machine, systemd: Systemd) -> Fleet:
    fleet = Fleet.open(machine.namespace)
    fleet.start_server()
    fleet.enroll()
    systemd.start("relaymap-agent.service")
    systemd.start("opensmtpd.service")
    return fleet


def test_a_push_restarts_the_unit_of_smtpd(machine: Machine, systemd: Systemd, fleet: Fleet):
    before = systemd.shown("opensmtpd.service", "InvocationID")
    fleet.serve(A.url())
    assert systemd.shown("opensmtpd.service", "InvocationID") != before
    assert machine.goes_to("x.test") == "a"


def test_a_unit_that_does_not_start_is_rolled_back(
    machine: Machine, systemd: Systemd, fleet: Fleet
):
    fleet.serve(A.url())
    fleet.route_to(B.url())
    push = fleet.push()
    assert push["state"] == "rolled-back"
    assert "opensmtpd.service" in push["mtas"][0]["detail"]
    assert systemd.shown("opensmtpd.service", "ActiveState") == "active"
    assert machine.goes_to("x.test") == "a"


def test_a_table_update_ends_no_process(machine: Machine, systemd: Systemd, fleet: Fleet):
    relays = [{"url": A.url()}, {"url": "smtp+notls://127.0.1.99:26025"}]
    fleet.good("PUT", "/v1/relay-maps/pool", {"relays": relays})
    fleet.serve("map:pool")
    before = systemd.shown("opensmtpd.service", "MainPID")
    state = "/v1/relay-maps/pool/relays/127.0.1.99/state"
    fleet.good("PUT", state, {"state": "out", "reason": "test"})
    push = fleet.push()
    assert (push["state"], push["mtas"][0]["reload"]) == ("applied", "table-update")
    assert systemd.shown("opensmtpd.service", "MainPID") == before
    assert {machine.goes_to("x.test") for _ in range(3)} == {"a"}


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="not installed: systemd-analyze"
)
@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_exposed_no_more_than_it_must_be(unit: str):
    argv = ["systemd-analyze", "security", "--offline=true", "--threshold=20"]
    done = subprocess.run(
        [*argv, str(DOCUMENTED / unit)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stdout[-400:] + done.stderr
