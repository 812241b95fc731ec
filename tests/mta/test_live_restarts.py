"""The live mode under a real systemd: a confined agent, and a unit that starts smtpd again."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.mta.agents import table_program
from tests.mta.agents.fleet import Fleet
from tests.mta.agents.machine import A, B, Machine, operator
from tests.mta.agents.systemd import Systemd, UnitFailed
from tests.mta.bed.channel import ScriptFailed
from tests.mta.bed.namespace import Namespace
from tests.mta.test_agent_systemd import (
    AGENT_HERE,
    DOCUMENTED,
    OPENSMTPD,
    SMTPD,
    STATE_DIR,
    UNITS,
)

SMTPD_UNIT = "opensmtpd.service"
GUIDE = (DOCUMENTED / "README.md").read_text("utf-8")
DROP_IN = "[Service]\nRestart=on-failure\n"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        table_program.install(namespace)
        machine = Machine.open(namespace, A, B)
        machine.smtpd.configure(operator(include=f"{STATE_DIR}/live/relaymap.conf"))
        machine.smtpd.write(SMTPD, '#!/bin/sh\nexec /usr/sbin/smtpd "$@"\n', mode=0o755)
        yield machine


@pytest.fixture(scope="module")
def systemd(machine: Machine) -> Iterator[Systemd]:
    units = {name: (DOCUMENTED / name).read_text("utf-8") for name in UNITS}
    units |= {
        SMTPD_UNIT: OPENSMTPD,
        f"{SMTPD_UNIT}.d/restart.conf": DROP_IN,
        "relaymap-agent.service.d/here.conf": AGENT_HERE,
    }
    try:
        opened = Systemd.open(machine.namespace, units)
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
    systemd.start(SMTPD_UNIT)
    fleet.good("PUT", "/v1/relay-maps/pool", {"relays": [{"url": A.url()}]})
    fleet.serve("map:pool")
    return fleet


def test_a_live_push_ends_no_process_of_the_unit(machine: Machine, systemd: Systemd, fleet: Fleet):
    before = systemd.shown(SMTPD_UNIT, "MainPID")
    fleet.good("PUT", "/v1/relay-maps/pool", {"relays": [{"url": B.url()}]})
    push = fleet.push()
    assert (push["state"], push["mtas"][0]["reload"]) == ("applied", "live")
    assert systemd.shown(SMTPD_UNIT, "MainPID") == before
    assert machine.goes_to("x.test") == "b"


def test_the_unit_starts_smtpd_again_once_its_program_has_ended(
    machine: Machine, systemd: Systemd, fleet: Fleet
):
    assert DROP_IN.replace("\n", "\\n") in GUIDE
    before = systemd.shown(SMTPD_UNIT, "MainPID")
    # Inside, where the processes of the container are seen; the shell's own words are another.
    machine.namespace.run(["sh", "-c", "kill -9 $(pgrep -f '[l]ibexec/opensmtpd/table-relaymap')"])
    with contextlib.suppress(ScriptFailed):  # smtpd ends when it asks
        machine.goes_to("x.test")
    systemd.until(lambda: systemd.shown(SMTPD_UNIT, "MainPID") not in {before, "0"})
    machine.wait_until_taken("x.test")
    assert systemd.shown(SMTPD_UNIT, "ActiveState") == "active"
    fleet.until(lambda: fleet.state() == "live")
