"""A password is in the rendered credentials table and nowhere else on the MTA's machine."""

import base64
import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mta.agents.fleet import AGENT_LOG, MTA, SERVER_LOG, Fleet
from tests.mta.agents.machine import STATE_DIR, A, B, Machine, operator
from tests.mta.bed.namespace import Namespace

CANARY = "canary-4f1d9a7c-open:sesame"
USER = "canary-user@provider.test"
TABLE = f"{STATE_DIR}/live/credentials"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        yield Machine.open(namespace, A, B)


@pytest.fixture(scope="module")
def fleet(machine: Machine) -> Fleet:
    """A fleet that has seen every kind of push end, with the canary in each."""
    fleet = Fleet.open(machine.namespace)
    fleet.start_server()
    fleet.enroll()
    fleet.start_agent(RELAYMAP_LOG_LEVEL="debug")
    body = {"username": USER, "password": CANARY, "hosts": ["127.0.1.11", "127.0.1.12"]}
    fleet.good("PUT", "/v1/credentials/lab", body)
    fleet.serve("smtps://lab@127.0.1.11:26465")
    machine.smtpd.configure(operator('action "broken" relay nonsense'))
    fleet.route_to("smtps://lab@127.0.1.12:26465")
    assert fleet.push()["state"] == "refused"
    machine.smtpd.configure(operator())
    assert fleet.push()["state"] == "applied"
    table = machine.namespace.outside(f"{STATE_DIR}/generations") / served(machine) / "credentials"
    table.write_text(table.read_text() + "# by hand\n")
    fleet.serve("smtps://lab@127.0.1.11:26465")
    return fleet


def served(machine: Machine) -> str:
    link = machine.namespace.run(["readlink", f"{STATE_DIR}/live"]).stdout
    return link.strip().rpartition("/")[2]


def spellings(machine: Machine) -> list[bytes]:
    """The canary as it might be written down, and bare hashes that would let it be guessed."""
    secret = CANARY.encode()
    table = machine.namespace.run(["cat", TABLE]).stdout.encode()
    found = [secret, secret.hex().encode(), base64.b64encode(f"\0{USER}\0{CANARY}".encode())]
    found += [base64.b64encode(b"x" * n + secret)[4:-4] for n in range(3)]
    return found + [hashlib.sha256(text).hexdigest().encode() for text in (secret, table)]


def files(machine: Machine) -> list[Path]:
    root = machine.namespace.outside("/")
    directories = ("run/agent", "run/server", "run/bed", "var/spool", "run/strace")
    return [
        path
        for directory in directories
        for path in (root / directory).rglob("*")
        if path.is_file() and not path.is_symlink()
    ]


def test_no_file_but_the_table_of_the_live_generation_holds_the_password(
    machine: Machine, fleet: Fleet
):
    needles, root = spellings(machine), machine.namespace.outside("/")
    holders = {
        str(path.relative_to(root))
        for path in files(machine)
        if any(needle in path.read_bytes() for needle in needles)
    }
    number = served(machine)
    # Somebody wrote into the table by hand before; that was replaced, and not kept.
    assert holders == {f"run/agent/generations/{number}/credentials"}
    table = machine.namespace.outside(f"{STATE_DIR}/generations/{number}/credentials")
    assert stat.S_IMODE(table.stat().st_mode) == 0o640
    assert table.group() == "opensmtpd"
    assert fleet.state() == "live"


def test_no_process_has_the_password_in_its_arguments_or_environment(
    machine: Machine, fleet: Fleet
):
    assert fleet.state() == "live"
    needles = spellings(machine)
    for pid in machine.namespace.pids():
        for what in ("cmdline", "environ"):
            said = Path(f"/proc/{pid}/{what}").read_bytes()
            assert not any(needle in said for needle in needles), f"{pid} {what}"


def test_no_log_and_no_answer_of_the_server_has_the_password(machine: Machine, fleet: Fleet):
    needles = spellings(machine)
    answers = [fleet.log(AGENT_LOG), fleet.log(SERVER_LOG)]
    answers += [str(fleet.good("GET", f"/v1/mtas/{MTA}/{part}")) for part in ("status", "preview")]
    answers += [str(fleet.good("GET", path)) for path in ("/v1/pushes", "/v1/revisions")]
    for answer in answers:
        assert not any(needle in answer.encode() for needle in needles)
