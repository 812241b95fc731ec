"""Logins in live mode: given for the connection that needs them, as the last push has them."""

import base64
import time
from collections.abc import Iterator

import pytest

from tests.mta.agents import table_program
from tests.mta.agents.answers import CREDENTIALS, answers
from tests.mta.agents.fleet import AGENT_LOG, MTA, SERVER_LOG, Fleet
from tests.mta.agents.machine import PORT, Machine
from tests.mta.bed.certificates import Authority
from tests.mta.bed.injector import Submission
from tests.mta.bed.namespace import Namespace
from tests.mta.bed.sinks import Delivery, Sink
from tests.mta.bed.smtpd import Smtpd

USER = "canary-user@provider.test"
OLD = "canary-77aa-old:word"
NEW = "canary-77aa-new word"
PEM = "/run/bed/sink.pem"
KEPT = Sink(
    "kept", "127.0.1.31", 26425, tls="starttls", require_tls=True, certificate=PEM,
    logins={USER: OLD},
)  # fmt: skip
MAP = "/v1/relay-maps/pool"
_LIMIT_S = 60


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        table_program.install(namespace)
        Smtpd(namespace).write(PEM, "".join(Authority.create().issue(KEPT.address)))
        yield Machine.open(namespace, KEPT)


@pytest.fixture(scope="module")
def fleet(machine: Machine) -> Fleet:
    """An agent with a login for the sink, and all mail over a map of that sink."""
    fleet = Fleet.open(machine.namespace)
    fleet.start_server()
    fleet.enroll()
    fleet.start_agent(RELAYMAP_LOG_LEVEL="debug")
    login(fleet, OLD, KEPT.address)
    fleet.good("PUT", MAP, {"relays": [{"name": "kept", "url": KEPT.url("tls+auth", "lab")}]})
    rule = {
        "match": {"clients": ["any"], "recipients": ["x.test"]},
        "action": {"kind": "relay", "via": "map:pool", "tls_verify": False},
    }
    fleet.good("PUT", "/v1/rules/out", rule)
    assert fleet.push()["state"] == "applied"
    return fleet


def login(fleet: Fleet, password: str, *hosts: str) -> None:
    """Say which password goes to which hosts."""
    body = {"username": USER, "password": password, "hosts": list(hosts)}
    fleet.good("PUT", "/v1/credentials/lab", body | {"allow_unverified": True})


def live(fleet: Fleet) -> None:
    """Push what is one transaction for the agent."""
    push = fleet.push()
    assert (push["state"], push["mtas"][0]["reload"]) == ("applied", "live"), push


def send(machine: Machine, probe: str) -> None:
    """Send a message that must be taken."""
    submission = Submission(probe, "s@sender.test", "u@x.test", PORT, client="127.0.0.1")
    (reply,) = machine.injector.send([submission])
    assert reply.accepted


def delivered(machine: Machine, probe: str) -> Delivery:
    """Send a message; how the sink took it."""
    send(machine, probe)
    (taken,) = machine.sinks.wait_for(1, lambda delivery: delivery.probe == probe)
    return taken


def hang_up(machine: Machine) -> None:
    """End smtpd's sessions with the sink: it would use them again, and log in no more."""
    machine.sinks.die(KEPT.name)
    machine.sinks.accept(KEPT.name)
    limit = time.monotonic() + _LIMIT_S
    while machine.smtpd.ctl("show", "relays").strip():
        assert time.monotonic() < limit, "it still knows the relay"
        time.sleep(0.1)


def spellings(*passwords: str) -> list[bytes]:
    """The passwords as they might be written down."""
    found = []
    for password in passwords:
        secret = password.encode()
        found += [secret, secret.hex().encode(), base64.b64encode(f"\0{USER}\0{password}".encode())]
        found += [base64.b64encode(b"x" * n + secret)[4:-4] for n in range(3)]
    return found


def test_a_login_is_made_inside_tls(machine: Machine, fleet: Fleet):
    taken = delivered(machine, "first")
    assert taken.tls is not None
    assert taken.auth_user == USER


def test_a_changed_password_is_used_at_the_next_connection(machine: Machine, fleet: Fleet):
    pids = machine.pids()
    machine.sinks.know(KEPT.name, {USER: NEW})
    login(fleet, NEW, KEPT.address)
    live(fleet)
    hang_up(machine)
    assert delivered(machine, "changed").auth_user == USER
    assert machine.pids() == pids


def test_nothing_that_is_said_has_a_password(machine: Machine, fleet: Fleet):
    needles = spellings(OLD, NEW)
    hang_up(machine)
    with answers(machine.namespace) as found:
        assert delivered(machine, "traced").auth_user == USER
        found.first(lambda each: each.table == CREDENTIALS)
    said = [str(found.all()), fleet.log(AGENT_LOG), fleet.log(SERVER_LOG)]
    said += [str(fleet.good("GET", f"/v1/mtas/{MTA}/{part}")) for part in ("status", "preview")]
    said += [str(fleet.good("GET", path)) for path in ("/v1/pushes", "/v1/revisions")]
    for each in said:
        assert not any(needle in each.encode() for needle in needles)
    root = machine.namespace.outside("/")
    holders = {
        str(path.relative_to(root))
        for directory in ("run/agent", "run/server", "run/bed", "var/spool")
        for path in (root / directory).rglob("*")
        if path.is_file() and not path.is_symlink()
        and any(needle in path.read_bytes() for needle in needles)
    }  # fmt: skip
    assert holders == {"run/agent/data/data.mdb"}


def test_a_host_that_a_login_no_longer_is_for_gets_none(machine: Machine, fleet: Fleet):
    """Its map is retired, and mail may still be queued for it."""
    hang_up(machine)
    machine.smtpd.hold()
    send(machine, "late")
    fleet.good("DELETE", "/v1/rules/out")
    fleet.good("DELETE", MAP)
    login(fleet, NEW, "elsewhere.test")
    assert fleet.push()["state"] == "applied"
    with answers(machine.namespace) as found:
        machine.smtpd.release()
        machine.smtpd.ctl("schedule", "all")
        found.first(lambda each: each.is_relay)
        machine.smtpd.wait_for_rest()
    assert {each.answer for each in found.relays()} == {False}
    assert [each for each in found.all() if each.table == CREDENTIALS and each.answer] == []
    assert "late" not in {each.probe for each in machine.sinks.taken}
    assert len(machine.smtpd.queue()) == 1


def test_a_fixed_action_is_asked_for_anew_before_a_password_for_other_hosts_is_given(
    machine: Machine, fleet: Fleet
):
    """It names its host, and the program knows the label alone: so smtpd must not have it."""
    login(fleet, NEW, KEPT.address, "elsewhere.test")
    action = {"kind": "relay", "via": KEPT.url("tls+auth", "lab"), "tls_verify": False}
    rule = {"match": {"clients": ["any"], "recipients": ["x.test"]}, "action": action}
    fleet.good("PUT", "/v1/rules/out", rule)
    assert fleet.push()["state"] == "applied"
    # As long as its credential names that host, the mail may go there: the host does not take it.
    machine.sinks.behave(KEPT.name, {"mail": "450 4.3.0 later"})
    send(machine, "fixed")
    other = KEPT.url("tls+auth", "lab").replace(KEPT.address, "elsewhere.test")
    fleet.good("PUT", MAP, {"relays": [{"name": "other", "url": other}]})
    fleet.good("PUT", "/v1/rules/out", rule | {"action": action | {"via": "map:pool"}})
    assert fleet.push()["state"] == "applied"
    login(fleet, NEW, "elsewhere.test")
    push = fleet.push()
    assert (push["state"], push["mtas"][0]["reload"]) == ("applied", "restart"), push
    asked = f'"{KEPT.url("smtp+tls", "lab")}"'
    conf = machine.namespace.outside("/run/agent/live/relaymap.conf")
    assert asked not in conf.read_text()
    live_again = fleet.push()
    assert live_again["mtas"][0]["reload"] != "restart"
    machine.sinks.behave(KEPT.name)
    machine.smtpd.ctl("schedule", "all")
    machine.smtpd.wait_for_rest()
    assert "fixed" not in {each.probe for each in machine.sinks.taken}
