"""Live mode under a real systemd: a confined agent, and smtpd and journald in their own units."""

import contextlib
import stat
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.mta.agents import table_program
from tests.mta.agents.fleet import MTA, Fleet
from tests.mta.agents.machine import PORT, A, B, Machine, operator
from tests.mta.agents.systemd import Systemd, UnitFailed
from tests.mta.agents.units import DOCUMENTED, STATE_DIR, journal, units
from tests.mta.bed.channel import ScriptFailed
from tests.mta.bed.injector import Submission
from tests.mta.bed.namespace import Namespace

OURS = "/opt/relaymap"
PROGRAM = "/usr/libexec/opensmtpd/table-relaymap"
MAP = "/v1/relay-maps/pool"
_LIMIT_S = 120
DROP_IN = "[Service]\nRestart=on-failure\n"
"""As the guide has it: Debian's unit does not start smtpd again."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        table_program.make_opt(namespace, OURS)
        machine = Machine.open(namespace, A, B)
        machine.smtpd.configure(operator(include=f"{STATE_DIR}/live/relaymap.conf", patient=True))
        yield machine


def install(machine: Machine) -> tuple[int, str]:
    """Run the command that puts the program where smtpd finds it; its status and its words."""
    argv = ["sh", "-c", 'umask 077; "$@" 2>&1; echo $?', "sh", f"{OURS}/bin/python", "-m", "app"]
    *said, status = machine.namespace.run(
        [*argv, "table-program", "install"], directory="/"
    ).stdout.splitlines()
    return int(status), "\n".join(said)


def test_the_program_is_installed_only_where_smtpd_gets_to_it(machine: Machine):
    machine.namespace.run(["chmod", "700", OURS])
    status, said = install(machine)
    assert status != 0
    assert f"since {OURS} is not open to others" in said
    assert "Traceback" not in said
    assert not machine.namespace.outside(PROGRAM).exists()
    machine.namespace.run(["chmod", "755", OURS])
    assert install(machine) == (0, PROGRAM)
    assert stat.S_IMODE(machine.namespace.outside(PROGRAM).stat().st_mode) == 0o755


@pytest.fixture(scope="module")
def systemd(machine: Machine) -> Iterator[Systemd]:
    found = units("relaymap-agent.service") | journal(machine.namespace)
    found["opensmtpd.service.d/restart.conf"] = DROP_IN
    try:
        opened = Systemd.open(machine.namespace, found)
        opened.ctl("start", "systemd-journald-dev-log.socket")
        opened.start("systemd-journald.service")
    except UnitFailed as failed:
        pytest.skip(f"systemd does not come up in a container here: {failed}")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def fleet(machine: Machine, systemd: Systemd) -> Fleet:
    """An agent that has found the program, beside an smtpd that asks it, which has a map of two."""
    assert install(machine) == (0, PROGRAM)
    fleet = Fleet.open(machine.namespace)
    fleet.start_server()
    fleet.enroll()
    systemd.start("relaymap-agent.service")
    systemd.start("opensmtpd.service")
    relays = [{"name": "first", "url": A.url()}, {"name": "second", "url": B.url()}]
    fleet.good("PUT", MAP, {"policy": "failover", "relays": relays})
    fleet.serve("map:pool")
    return fleet


def status(fleet: Fleet) -> dict[str, Any]:
    """How the MTA stands, as the server says."""
    return dict(fleet.good("GET", f"/v1/mtas/{MTA}/status"))


def until(fleet: Fleet, reached: Callable[[], bool], what: str) -> None:
    """Wait for what the agent finds out by itself."""
    limit = time.monotonic() + _LIMIT_S
    while not reached():
        assert time.monotonic() < limit, f"not {what}\n{fleet.log()[-3000:]}"
        time.sleep(0.1)


def test_the_live_file_is_for_smtpd_to_read_and_for_the_agent_to_write(
    systemd: Systemd, fleet: Fleet
):
    assert status(fleet)["state"] == "live"
    found = systemd.run(
        "sh", "-c", f"cd {STATE_DIR}; stat -c '%n %U:%G %a' . data data/* data/run/*"
    )
    rows = dict(line.split(" ", 1) for line in found.splitlines())
    (program,) = (name for name in rows if name.endswith(".sock"))
    assert rows.pop(program) == "opensmtpd:opensmtpd 660"
    assert rows == {
        ".": "root:opensmtpq 711",
        "data": "root:opensmtpd 750",
        "data/data.mdb": "root:opensmtpd 640",
        "data/lock.mdb": "root:opensmtpd 660",
        "data/run": "root:opensmtpd 770",
    }


def test_a_change_of_a_map_is_live_at_once(machine: Machine, systemd: Systemd, fleet: Fleet):
    before = systemd.shown("opensmtpd.service", "MainPID")
    assert machine.goes_to("x.test") == "a"
    fleet.good("PUT", f"{MAP}/relays/first/state", {"state": "out", "reason": "test"})
    push = fleet.push()
    assert (push["state"], push["mtas"][0]["reload"]) == ("applied", "live"), push
    assert machine.goes_to("x.test") == "b"
    fleet.good("PUT", f"{MAP}/relays/first/state", {"state": "active"})
    push = fleet.push()
    assert (push["state"], push["mtas"][0]["reload"]) == ("applied", "live"), push
    assert machine.goes_to("x.test") == "a"
    assert systemd.shown("opensmtpd.service", "MainPID") == before


def test_what_smtpd_logs_is_heard_from_the_journal(
    machine: Machine, systemd: Systemd, fleet: Fleet
):
    """Mail that met the relay which died is tried again by its id: only the log tells that id."""

    def health() -> tuple[str, str | None]:
        relays = fleet.good("GET", f"{MAP}/health")["relays"]
        return relays[0]["mtas"][0]["health"], relays[0]["mtas"][0]["cause"]

    until(fleet, lambda: health() == ("up", None), "up")
    machine.sinks.die("a")
    replies = machine.injector.send(
        Submission(f"journal-{n}", "s@sender.test", "u@x.test", PORT, client="127.0.0.1")
        for n in range(20)
    )
    assert {reply.stage for reply in replies} == {"accepted"}
    taken = machine.sinks.wait_for(
        20, lambda delivery: delivery.probe.startswith("journal-"), limit_s=_LIMIT_S
    )
    assert {delivery.sink for delivery in taken} == {"b"}
    until(fleet, lambda: health() == ("down", "refused"), "down")
    assert '"rescheduled"' in fleet.log()
    machine.sinks.accept("a")
    until(fleet, lambda: health() == ("up", None), "up again")
    assert machine.goes_to("x.test") == "a"


def test_smtpd_goes_on_when_a_process_of_its_program_is_killed(
    machine: Machine, systemd: Systemd, fleet: Fleet
):
    before = systemd.shown("opensmtpd.service", "MainPID")
    killed = "kill -9 $(pgrep -f '[l]ibexec/opensmtpd/table-relaymap' | tail -n 1)"
    for _ in range(3):
        machine.namespace.run(["sh", "-c", killed])
        assert machine.goes_to("x.test") in {"a", "b"}
    assert systemd.shown("opensmtpd.service", "MainPID") == before
    fleet.until(lambda: fleet.state() == "live")


def test_the_unit_starts_smtpd_again_once_its_program_has_ended(
    machine: Machine, systemd: Systemd, fleet: Fleet
):
    assert DROP_IN.replace("\n", "\\n") in (DOCUMENTED / "README.md").read_text("utf-8")
    before = systemd.shown("opensmtpd.service", "MainPID")
    # Inside, where the processes of the container are seen; the shell's own words are another.
    # Stopped first: between two kills, whoever is left would start another.
    both = "p=$(pgrep -f '[l]ibexec/opensmtpd/table-relaymap'); kill -STOP $p; kill -9 $p"
    machine.namespace.run(["sh", "-c", both])
    with contextlib.suppress(ScriptFailed):  # smtpd ends when it asks
        machine.goes_to("x.test")
    systemd.until(lambda: systemd.shown("opensmtpd.service", "MainPID") not in {before, "0"})
    machine.wait_until_taken("x.test")
    assert systemd.shown("opensmtpd.service", "ActiveState") == "active"
    fleet.until(lambda: fleet.state() == "live")
