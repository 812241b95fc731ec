"""Health beside a real smtpd: its log is understood, and mail does not wait for who is down."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from app.agent.daemon_log import Bounced, DaemonLog, Delivered, Failed, Told, Waits
from app.wire import Cause
from tests.mta.agents import table_program
from tests.mta.agents.fleet import Fleet
from tests.mta.agents.machine import Machine as Beside
from tests.mta.bed.certificates import Authority
from tests.mta.bed.channel import Channel
from tests.mta.bed.dns import Dns
from tests.mta.bed.injector import Injector, Submission
from tests.mta.bed.namespace import WORKSPACE, Namespace
from tests.mta.bed.sinks import Sink, Sinks
from tests.mta.bed.smtpd import Listener, Settings, Smtpd

PORT = 26401
A = Sink("a", "127.0.2.11", 26425)
B = Sink("b", "127.0.2.12", 26425)
QUICK = {"up_s": 0.2, "otherwise_s": 0.1, "least_s": 0.05}
NEVER = {"up_s": 1e6, "otherwise_s": 1e6}
POOL = [["m", "a", A.url()], ["m", "b", B.url()]]
HOSTED = (
    f'table pool "file:{WORKSPACE}/pool"',
    'action "out" relay host <pool>',
    'match from any for any action "out"',
)
_LIMIT_S = 60


@dataclass
class Machine:
    """smtpd, sinks, and the agent's health beside them."""

    namespace: Namespace
    sinks: Sinks
    smtpd: Smtpd
    injector: Injector
    agent: Channel
    _probes: Iterator[int] = field(default_factory=count)

    @classmethod
    def open(cls, namespace: Namespace, *listening: Sink) -> "Machine":
        Dns.open(namespace, {})
        script = Path(__file__).with_name("agents") / "health_inside.py"
        return cls(
            namespace,
            Sinks.open(namespace, *listening),
            Smtpd(namespace),
            Injector.open(namespace),
            Channel.open(namespace, script),
        )

    def configure(self, *lines: str) -> None:
        listeners = (Listener(PORT, addresses=("127.0.0.1",)),)
        self.smtpd.configure(Settings(listeners=listeners, lines=lines))
        self.smtpd.write(
            f"{WORKSPACE}/pool", f"# @list\n{A.url()}\n{B.url()}\n", mode=0o640, group="opensmtpd"
        )

    def start(self, relays: list[list[str]], pace: dict[str, float]) -> None:
        self.agent.call("start", relays=relays, pace=pace)
        self.until(self._greets, "smtpd listens")

    def send(self, n: int = 1, domain: str = "x.test") -> None:
        replies = self.injector.send(
            Submission(
                f"probe-{next(self._probes)}",
                "s@sender.test",
                f"u@{domain}",
                PORT,
                client="127.0.0.1",
            )
            for _ in range(n)
        )
        assert [reply for reply in replies if not reply.accepted] == []

    def seen(self) -> dict[str, dict[str, Any]]:
        return {seen["relay"]: seen for seen in self.agent.call("seen")}

    def states(self) -> dict[str, str]:
        return {name: seen["state"] for name, seen in self.seen().items()}

    def told(self) -> list[Told]:
        log = DaemonLog()
        return [told for line in self.smtpd.log().splitlines() if (told := log.read(line))]

    def until(self, reached: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + _LIMIT_S
        while not reached():
            assert time.monotonic() < limit, f"not {what}:\n{self.smtpd.log()[-3000:]}"
            time.sleep(0.05)

    def _greets(self) -> bool:
        try:
            with self.namespace.connect("127.0.0.1", PORT) as link, link.makefile("rb") as replies:
                return replies.readline().startswith(b"220")
        except OSError:
            return False


@pytest.fixture
def machine(namespace: Namespace) -> Machine:
    machine = Machine.open(namespace, A, B)
    machine.configure(*HOSTED)
    return machine


def test_mail_that_met_a_relay_which_is_down_goes_to_another_one_at_once(machine: Machine):
    """smtpd itself would wait 400 s, longer than this test does."""
    machine.sinks.refuse("a")
    machine.start(POOL, NEVER)  # nobody looks again by the clock: the log alone makes it known
    machine.send(10)
    taken = machine.sinks.wait_for(10)
    assert {delivery.sink for delivery in taken} == {"b"}
    assert len({delivery.probe for delivery in taken}) == 10
    seen = machine.seen()["a"]
    assert (seen["state"], seen["cause"]) == ("down", "refused")
    machine.smtpd.wait_for_queue(0)


def test_a_relay_that_is_back_gets_its_mail_at_once(machine: Machine):
    """Its route is off and its mail waits, since there was nobody else."""
    machine.configure(f'action "out" relay host "{A.url()}"', 'match from any for any action "out"')
    machine.sinks.refuse("a")
    machine.start([["m", "a", A.url()]], QUICK)
    machine.until(lambda: machine.states()["a"] == "down", "down")
    machine.send(5)
    machine.smtpd.wait_for_log('stat="Network error on destination MXs"', 5)
    tried = machine.smtpd.log().count("mta connecting")
    machine.until(lambda: machine.seen()["a"]["envelopes"] == 5, "counted")
    assert machine.smtpd.log().count("mta connecting") == tried  # no use in trying meanwhile
    machine.smtpd.ctl("remove", machine.smtpd.queue()[0])  # it leaves without a line
    machine.until(lambda: machine.seen()["a"]["envelopes"] == 4, "counted again")
    machine.sinks.accept("a")
    assert len(machine.sinks.wait_for(4)) == 4
    machine.smtpd.wait_for_queue(0)
    assert machine.states() == {"a": "up"}
    assert "per admin request" in machine.smtpd.log()
    assert machine.smtpd.log().count('result="TempFail"') == 5  # none tried while the way was off


def test_what_a_relay_still_has_to_do_is_known_until_it_is_quiet(machine: Machine):
    machine.configure(f'action "out" relay host "{A.url()}"', 'match from any for any action "out"')
    machine.start([["m", "a", A.url()], ["m", "b", B.url()]], NEVER)
    machine.until(lambda: machine.seen()["b"]["quiet_since"] is not None, "measured")
    first = machine.seen()["b"]["quiet_since"]
    machine.sinks.behave("a", delay_s=1.0)
    machine.send(3)
    machine.until(lambda: machine.seen()["a"]["sessions"] > 0, "in a session")
    machine.until(lambda: machine.seen()["a"]["quiet_since"] is None, "busy")
    machine.sinks.behave("a")
    machine.sinks.wait_for(3)
    machine.until(lambda: machine.seen()["a"]["quiet_since"] is not None, "quiet")
    seen = machine.seen()
    assert (seen["a"]["sessions"], seen["a"]["envelopes"]) == (0, 0)
    assert seen["b"]["quiet_since"] == first


def test_an_envelope_is_tried_again_by_its_id_and_no_other(machine: Machine):
    machine.configure(f'action "out" relay host "{A.url()}"', 'match from any for any action "out"')
    machine.sinks.refuse("a")
    machine.start([], NEVER)
    machine.send(3)
    machine.smtpd.wait_for_rest()
    machine.sinks.accept("a")
    chosen = machine.smtpd.queue()[1]
    machine.namespace.run(["smtpctl", "resume", "route", "1"])
    assert machine.agent.call("schedule", envelope=chosen) is True
    machine.agent.call("schedule", envelope=chosen)  # it may be gone by now
    machine.smtpd.wait_for_queue(2)
    machine.smtpd.wait_for_log('result="Ok"')  # what is said comes a moment later
    delivered = [told for told in machine.told() if isinstance(told, Delivered)]
    assert [told.envelope for told in delivered] == [chosen]
    assert delivered[0].port == A.port
    assert chosen not in machine.smtpd.queue()
    assert machine.agent.call("schedule", envelope=chosen) is False


def test_an_envelope_in_a_session_cannot_be_tried_now_and_that_is_said(machine: Machine):
    machine.configure(f'action "out" relay host "{A.url()}"', 'match from any for any action "out"')
    machine.sinks.behave("a", delay_s=1.0)
    machine.start([], NEVER)
    machine.send(1)
    machine.smtpd.wait_for_log("mta connecting address=")
    (envelope,) = machine.smtpd.queue()
    assert machine.agent.call("schedule", envelope=envelope) is False
    machine.sinks.wait_for(1)


SIX = Sink("six", "::1", 26426)
LMTP = Sink("lmtp", "127.0.2.20", 26424, protocol="lmtp")
PLAIN = Sink("plain", "127.0.2.21", 26425)
TIRED = Sink("tired", "127.0.2.22", 26425, replies={"banner": "554 5.3.2 go away"})
BUSY = Sink("busy", "127.0.2.23", 26425, replies={"message": '451 4.3.0 " relay="127.0.9.9'})
NO = Sink("no", "127.0.2.24", 26425, replies={"rcpt": "550 5.1.1 nobody"})
SECURE = Sink("secure", "127.0.2.25", 26425, tls="smtps", certificate="/run/bed/sink.pem")
KEPT = Sink(
    "kept",
    "127.0.2.26",
    26425,
    tls="smtps",
    certificate="/run/bed/sink.pem",
    logins={"user": "word"},
)


def test_a_login_is_tried_when_somebody_asks_and_what_it_says_is_seen(namespace: Namespace):
    Smtpd(namespace).write("/run/bed/sink.pem", "".join(Authority.create().issue(KEPT.address)))
    machine = Machine.open(namespace, KEPT)
    machine.configure(*HOSTED)
    machine.start([["m", "kept", KEPT.url("smtps", "kept")]], QUICK)
    machine.until(lambda: machine.states()["kept"] == "up", "up")

    def check(password: str) -> Any:
        return machine.agent.call("check", relay=["m", "kept"], login=["user", password])

    refused = {"state": "down", "cause": "auth-refused", "reply": 535}
    assert check("another") == refused
    seen = machine.seen()["kept"]
    assert {name: seen[name] for name in refused} == refused
    assert check("word")["state"] == "up"
    machine.until(lambda: machine.states()["kept"] == "up", "up again")


PROBED = replace(KEPT, name="probed", port=26427)


class Probing:
    """An agent as it is started, with a map of one relay that asks for a login."""

    def __init__(self, namespace: Namespace, word: str) -> None:
        table_program.install(namespace)
        pem = "".join(Authority.create().issue(PROBED.address))
        Smtpd(namespace).write(PROBED.certificate, pem)
        self.machine = Beside.open(namespace, PROBED)
        self.fleet = Fleet.open(namespace)
        self.fleet.start_server()
        self.fleet.enroll()
        self.login(word)
        relays = [{"name": "probed", "url": PROBED.url("smtps", "lab")}]
        self.fleet.good("PUT", "/v1/relay-maps/pool", {"relays": relays})
        self.fleet.route_to("map:pool")
        action = {"kind": "relay", "via": "map:pool", "tls_verify": False}
        self.fleet.good("PATCH", "/v1/rules/out", {"action": action})

    def login(self, word: str) -> None:
        body = {"username": "user", "password": word, "hosts": [PROBED.address]}
        self.fleet.good("PUT", "/v1/credentials/lab", body | {"allow_unverified": True})

    def served(self) -> None:
        push = self.fleet.push()
        assert push["state"] == "applied", push

    def seen(self) -> tuple[str, str | None, int | None]:
        (relay,) = self.fleet.good("GET", "/v1/relay-maps/pool/health")["relays"]
        (found,) = relay["mtas"]
        return found["health"], found["cause"], found["reply"]

    def looked(self, times: int) -> int:
        """Wait for so many looks; how many logins they tried."""
        before = self.machine.sinks.heard(PROBED.name)
        self.fleet.until(lambda: self.heard("ehlo") >= before["ehlo"] + times)
        return self.heard("auth") - before["auth"]

    def heard(self, verb: str) -> int:
        return self.machine.sinks.heard(PROBED.name)[verb]


def test_a_look_logs_in_where_that_is_set(namespace: Namespace):
    """And does not try again and again what was refused: a relay may lock out who does."""
    probing = Probing(namespace, "another")
    probing.fleet.start_agent(RELAYMAP_AGENT_PROBE_AUTH="1")
    probing.served()
    probing.fleet.until(lambda: probing.seen() == ("down", "auth-refused", 535))
    assert probing.heard("auth") == 1
    assert probing.looked(2) == 0
    assert probing.seen() == ("down", "auth-refused", 535)
    probing.login("word")
    probing.served()
    probing.fleet.until(lambda: probing.seen() == ("up", None, None))
    assert probing.heard("auth") > 1
    assert b"another" not in probing.fleet.log().encode()


def test_no_look_logs_in_where_that_is_not_set(namespace: Namespace):
    probing = Probing(namespace, "another")
    probing.fleet.start_agent()
    probing.served()
    probing.fleet.until(lambda: probing.seen() == ("up", None, None))
    assert probing.looked(1) == 0
    assert probing.heard("auth") == 0


def test_every_line_of_the_real_log_that_matters_is_understood(namespace: Namespace):
    pair = Authority.create().issue("127.0.2.99")
    Smtpd(namespace).write("/run/bed/sink.pem", "".join(pair))
    machine = Machine.open(namespace, SIX, LMTP, PLAIN, TIRED, BUSY, NO, SECURE, KEPT)
    relays = {
        "refused": "smtp+notls://127.0.2.31:26425",
        "six": SIX.url(),
        "lmtp": LMTP.url("lmtp"),
        "away": "lmtp://127.0.2.32:26424",
        "plain": PLAIN.url("smtp+tls"),
        "tired": TIRED.url(),
        "busy": BUSY.url(),
        "no": NO.url(),
        "secure": SECURE.url("smtps"),
        "kept": KEPT.url("smtps", "kept"),
        "gone": "smtp://gone.invalid:2525",
        "unreachable": "smtp://[2001:db8:9::1]:25",
    }
    lines = []
    for name, url in relays.items():
        options = "auth <words> tls no-verify" if name == "kept" else ""
        lines += [
            f'action "{name}" relay host "{url}" {options}',
            f'match from any for domain "{name}.test" action "{name}"',
        ]
    machine.configure('table words { "kept" = "user:another" }', *lines)
    machine.start([], NEVER)
    for name in relays:
        machine.send(domain=f"{name}.test")

    hosts: set[tuple[str, int]] = set()  # a relay that has nothing to do is soon listed no more

    def ended() -> bool:
        hosts.update((load["host"], load["port"]) for load in machine.agent.call("loads"))
        told = [told for told in machine.told() if isinstance(told, Delivered | Waits | Bounced)]
        return len(told) >= len(relays)

    # The bounce of what was refused has no rule to go by.
    machine.until(ended, "all tried")
    told = machine.told()
    failed = {
        (each.place, each.port): each for each in told if isinstance(each, Failed) and each.port
    }
    assert failed == {
        (each.place, each.port): each
        for each in (
            Failed("127.0.2.31", 26425, Cause.REFUSED),
            Failed("127.0.2.32", 26424, Cause.REFUSED),
            Failed(PLAIN.address, 26425, Cause.STARTTLS_MISSING),
            Failed(TIRED.address, 26425, Cause.NO_BANNER, 554),
            Failed(SECURE.address, 26425, Cause.CERTIFICATE),
            Failed(KEPT.address, 26425, Cause.AUTH_REFUSED, 535),
            Failed("gone.invalid", 2525, Cause.NO_ADDRESS),
            Failed("2001:db8:9::1", 25, Cause.UNREACHABLE),
        )
    }
    waits = {each.place: each.unconnected for each in told if isinstance(each, Waits)}
    assert waits == {
        "127.0.2.31": True,
        "127.0.2.32": True,
        PLAIN.address: True,
        TIRED.address: True,
        BUSY.address: False,
        SECURE.address: True,
        KEPT.address: True,
        "gone.invalid": True,
        "2001:db8:9::1": True,
    }
    delivered = {(each.place, each.port) for each in told if isinstance(each, Delivered)}
    assert delivered == {("::1", SIX.port), (LMTP.address, LMTP.port)}
    assert sum(isinstance(each, Bounced) for each in told) == 1
    assert {("::1", SIX.port), (LMTP.address, LMTP.port)} <= hosts
