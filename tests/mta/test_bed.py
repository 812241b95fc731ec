"""The bed itself: it is a real daemon among real peers, apart from this machine, and it ends."""

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mta.bed.certificates import Authority
from tests.mta.bed.dns import Dns, Zone
from tests.mta.bed.injector import Injector, Submission
from tests.mta.bed.namespace import CommandFailed, Namespace
from tests.mta.bed.sinks import Delivery, Sink, Sinks, TooFew
from tests.mta.bed.smtpd import CONF, NotReady, Settings, Smtpd

REPOSITORY = Path(__file__).parents[2]
PLAIN = Sink("plain", "127.0.1.11")
ALL_TO_PLAIN = Settings(
    logins={"alice": "open sesame"},
    lines=[
        f'action "out" relay host "{PLAIN.url()}"',
        'match from any for domain "any.test" action "out"',
        'match from local for domain "local.test" action "out"',
        'match from any for domain "alice.test" auth regex { "^alice$" } action "out"',
        'match from any for domain "tag.test" tag "A" action "out"',
        'match from any for domain "helo.test" helo "mx.client.test" action "out"',
    ],
)


# From where, over which listener, to which rule above, and what RCPT is answered.
CLIENTS = """
local.test  27301  -                 127.0.0.1  client.test     250
local.test  27301  socket            127.0.0.1  client.test     250
local.test  27301  203.0.113.5       127.0.0.1  client.test     250
local.test  27301  2001:db8:ffff::5  ::1        client.test     250
local.test  27301  127.0.0.2         127.0.0.1  client.test     550
local.test  27301  192.0.2.9         127.0.0.1  client.test     550
local.test  27301  2001:db8:1::9     ::1        client.test     550
any.test    27301  198.51.100.7      127.0.0.1  client.test     250
any.test    27301  2001:db8:2::9     ::1        client.test     250
tag.test    27303  -                 127.0.0.1  client.test     250
tag.test    27304  -                 127.0.0.1  client.test     550
helo.test   27301  -                 127.0.0.1  mx.client.test  250
helo.test   27301  -                 127.0.0.1  client.test     550
other.test  27301  -                 127.0.0.1  client.test     550
other.test  27301  socket            127.0.0.1  client.test     550
alice.test  27302  -                 127.0.0.1  client.test     550
"""


def test_the_daemon_sees_the_client_that_the_test_names(
    smtpd: Smtpd, sinks: Sinks, injector: Injector
):
    sinks.add(PLAIN)
    smtpd.configure(ALL_TO_PLAIN)
    smtpd.start()
    submissions, codes = [], []
    for row in CLIENTS.strip().splitlines():
        domain, port, client, host, helo, code = row.split()
        client = client.removeprefix("-")
        recipient = f"u@{domain}"
        submissions.append(Submission(row, "", recipient, int(port), host, client, helo))
        codes.append((row, int(code)))
    smtpd.hold()
    replies = injector.send(submissions)
    smtpd.release()
    pairs = zip(submissions, replies, strict=True)
    assert [(sent.probe, reply.code) for sent, reply in pairs] == codes
    accepted = [row for row, code in codes if code == 250]
    taken = sinks.wait_for(len(accepted))
    assert sorted(delivery.probe.split() for delivery in taken) == sorted(map(str.split, accepted))
    assert {(delivery.sink, delivery.sender, delivery.tls) for delivery in taken} == {
        ("plain", "", None)
    }


def test_a_login_works_on_6_8_whose_own_key_does_not(
    smtpd: Smtpd, sinks: Sinks, injector: Injector
):
    sinks.add(PLAIN)
    smtpd.configure(ALL_TO_PLAIN)
    smtpd.start()
    replies = injector.send(
        Submission(
            str(port), "a@src.test", "u@alice.test", port, "127.0.0.1", client, "c.test", *login
        )
        for port in (27302, 27305)
        for client in ("", "192.0.2.9")
        for login in (("alice", "open sesame"), ("alice", "wrong"))
    )
    assert [(reply.stage, reply.code) for reply in replies] == [
        ("accepted", 250),
        ("auth", 535),
    ] * 4
    assert len(sinks.wait_for(4)) == 4


def secure_sinks(smtpd: Smtpd) -> list[Sink]:
    """Sinks for each way that a relay URL can name, with certificates of the daemon's CA `bed`."""
    authority = Authority.create()
    smtpd.write("/run/bed/ca.pem", authority.pem())
    certificate = "/run/bed/sink.pem"
    smtpd.write(certificate, "".join(authority.issue("127.0.1.12", "127.0.1.13", "127.0.1.14")))
    return [
        PLAIN,
        Sink("starttls", "127.0.1.12", tls="starttls", certificate=certificate, require_tls=True),
        Sink("smtps", "127.0.1.13", tls="smtps", certificate=certificate),
        Sink("login", "127.0.1.14", tls="smtps", certificate=certificate, logins={"u": "p w"}),
        Sink("lmtp", "127.0.1.15", protocol="lmtp"),
        Sink("six", "2001:db8:ffff::5"),
    ]


def test_sinks_tell_how_a_message_came(smtpd: Smtpd, sinks: Sinks, injector: Injector):
    plain, starttls, smtps, login, lmtp, six = (sinks.add(sink) for sink in secure_sinks(smtpd))
    smtpd.write("/run/bed/creds", "lab\tu:p w\n", mode=0o640, group="opensmtpd")
    relays = {
        "plain": f'host "{plain.url()}" helo "out.test" src "127.0.1.77"',
        "starttls": f'host "{starttls.url("smtp+tls")}" tls ca "bed"',
        "smtps": f'host "{smtps.url("smtps")}" tls ca "bed"',
        "login": f'host "{login.url("smtps", "lab")}" auth <creds> tls ca "bed"',
        "lmtp": f'host "{lmtp.url("lmtp")}"',
        "six": f'host "{six.url()}"',
    }
    declarations = ['ca "bed" cert "/run/bed/ca.pem"', 'table creds "file:/run/bed/creds"']
    lines = [f'action "{name}" relay {options}' for name, options in relays.items()]
    lines += [f'match from any for domain "{name}.test" action "{name}"' for name in relays]
    smtpd.configure(Settings(declarations=declarations, lines=lines))
    smtpd.start()
    smtpd.hold()
    injector.send(Submission(name, "a@src.test", f"u@{name}.test", 27301) for name in relays)
    smtpd.release()
    taken = {delivery.sink: delivery for delivery in sinks.wait_for(len(relays))}
    assert {name: delivery.probe for name, delivery in taken.items()} == {n: n for n in relays}
    assert (taken["plain"].helo, taken["plain"].client) == ("out.test", "127.0.1.77")
    encrypted = {name for name, delivery in taken.items() if delivery.tls is not None}
    assert encrypted == {"starttls", "smtps", "login"}
    assert {name for name, delivery in taken.items() if delivery.auth_user} == {"login"}
    assert (taken["lmtp"].protocol, taken["six"].client) == ("lmtp", "2001:db8:ffff::5")


def test_a_sink_misbehaves_as_told(smtpd: Smtpd, sinks: Sinks, injector: Injector):
    sinks.add(PLAIN)
    smtpd.configure(ALL_TO_PLAIN)
    smtpd.start()
    sinks.behave("plain", {"rcpt": "451 4.2.0 not now"})
    injector.send([Submission("later", "a@src.test", "u@any.test", 27301)])
    smtpd.wait_for_log('result="TempFail"')
    assert (sinks.taken, len(smtpd.queue())) == ([], 1)
    sinks.behave("plain")
    smtpd.ctl("schedule", "all")
    assert sinks.wait_for(1)[0].probe == "later"
    smtpd.wait_for_queue(0)


def test_a_sink_refuses_connections_until_told_otherwise(
    smtpd: Smtpd, sinks: Sinks, injector: Injector
):
    sinks.add(PLAIN)
    sinks.refuse("plain")
    smtpd.configure(ALL_TO_PLAIN)
    smtpd.start()
    injector.send([Submission("p", "a@src.test", "u@any.test", 27301)])
    smtpd.wait_for_log("Connection refused")
    with pytest.raises(TooFew, match="0 messages for 1 recipients"):
        sinks.wait_for(1, limit_s=0)
    sinks.accept("plain")
    smtpd.restart()  # a daemon that starts knows nothing of a bad route
    assert sinks.wait_for(1)[0].probe == "p"


def test_mx_records_come_from_the_zone_of_the_test(
    smtpd: Smtpd, dns: Dns, sinks: Sinks, injector: Injector
):
    sinks.add(Sink("first", "127.0.1.21", 25))
    sinks.add(Sink("second", "127.0.1.22", 25))
    zone: Zone = {
        "two.test": {"MX": ["20 mx2.two.test.", "10 mx1.two.test."]},
        "mx1.two.test": {"A": ["127.0.1.21"]},
        "mx2.two.test": {"A": ["127.0.1.22"]},
        "implicit.test": {"A": ["127.0.1.22"]},
        "broken.test": {"status": "SERVFAIL"},
    }
    dns.serve(zone)
    lines = ['action "mx" relay', 'match from any for any action "mx"']
    smtpd.configure(Settings(lines=lines))
    smtpd.start()
    smtpd.hold()
    domains = ["two.test", "implicit.test", "broken.test", "none.test"]
    injector.send(Submission(name, "", f"u@{name}", 27301) for name in domains)
    smtpd.release()
    taken = {delivery.probe: delivery.sink for delivery in sinks.wait_for(2)}
    assert taken == {"two.test": "first", "implicit.test": "second"}
    assert {"two.test MX", "broken.test MX", "none.test MX"} <= set(dns.asked())


def test_more_messages_than_a_session_takes_arrive_once_each(
    smtpd: Smtpd, sinks: Sinks, injector: Injector
):
    sinks.add(PLAIN)
    smtpd.configure(ALL_TO_PLAIN)
    smtpd.start()
    smtpd.hold()
    replies = injector.send(
        Submission(str(n), "a@src.test", "u@any.test" if n % 9 else "u@other.test", 27301)
        for n in range(250)
    )
    smtpd.release()
    accepted = {str(n) for n in range(250) if n % 9}
    assert {str(n) for n, reply in enumerate(replies) if reply.accepted} == accepted
    probes = [delivery.probe for delivery in sinks.wait_for(len(accepted))]
    assert sorted(probes) == sorted(accepted)
    smtpd.wait_for_queue(0)


def test_a_bad_configuration_is_refused_by_the_check_and_at_start(smtpd: Smtpd):
    smtpd.configure(Settings(lines=["nonsense"]))
    assert "syntax error" in smtpd.check()
    with pytest.raises(NotReady, match="syntax error"):
        smtpd.start()
    smtpd.configure(Settings())
    assert smtpd.check() == ""
    smtpd.start()
    assert smtpd.stop() == 0


def test_killed_it_leaves_its_queue_and_starts_again(
    smtpd: Smtpd, sinks: Sinks, injector: Injector
):
    sinks.add(PLAIN)
    smtpd.configure(ALL_TO_PLAIN)
    smtpd.start()
    smtpd.hold()
    injector.send(Submission(str(n), "a@src.test", "u@any.test", 27301) for n in range(5))
    smtpd.kill()
    assert len(smtpd.queue()) == 5
    smtpd.start()
    assert len(sinks.wait_for(5)) == 5


def test_two_machines_do_not_see_each_other(namespace: Namespace, smtpd: Smtpd):
    with Namespace.open() as other:
        smtpd.configure(ALL_TO_PLAIN)
        smtpd.start()
        second = Smtpd(other)
        with pytest.raises(CommandFailed, match="doesn't seem to be running"):
            second.ctl("show", "stats")
        second.configure(ALL_TO_PLAIN)
        second.start()  # the same ports, the same socket, the same spool: another machine
        assert not set(namespace.pids()) & set(other.pids())
        assert second.stop() == 0
        assert smtpd.stats()["uptime"] >= 0
        other.outside("/etc/only-here").write_text("x")
        other.outside("/var/spool/only-here").write_text("x")
        for path in ("/etc/only-here", "/var/spool/only-here"):
            assert not namespace.outside(path).exists()
            assert not Path(path).exists()
    assert not Path("/run/bed").exists()
    assert smtpd.check(CONF) == ""


def alive(pid: int) -> bool:
    """Answer whether a process runs; one that ended and waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_nothing_runs_after_close():
    namespace = Namespace.open()
    sinks = Sinks.open(namespace, PLAIN)
    Dns.open(namespace, {})
    smtpd = Smtpd(namespace)
    smtpd.configure(ALL_TO_PLAIN)
    smtpd.start()
    namespace.run(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &"])
    pids = [namespace.pid, namespace.holder.pid, *namespace.pids()]
    assert len(pids) >= 11  # init, holder, sinks, DNS, seven of smtpd, the one that ran away
    namespace.close()
    assert [pid for pid in pids if alive(pid)] == []
    assert sinks.taken == []


KILLED = """
import sys, time
from tests.mta.bed.namespace import Namespace
from tests.mta.bed.sinks import Sinks
namespace = Namespace.open()
Sinks.open(namespace)
namespace.popen(["sleep", "1000"])
print(namespace.pid, *namespace.pids(), flush=True)
time.sleep(1000)
"""


def test_nothing_runs_after_the_runner_was_killed():
    runner = subprocess.Popen(
        [sys.executable, "-c", KILLED], stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    assert runner.stdout is not None
    pids = [int(pid) for pid in runner.stdout.readline().split()]
    watched = [os.pidfd_open(pid) for pid in pids]
    assert len(watched) == 3
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    runner.stdout.close()
    for process in watched:
        assert select.select([process], [], [], 30)[0] == [process]
        os.close(process)


def test_a_connection_made_inside_is_used_outside(smtpd: Smtpd, namespace: Namespace):
    smtpd.configure(ALL_TO_PLAIN)
    smtpd.start()
    with namespace.connect("127.0.0.1", 27301) as session, session.makefile("rb") as replies:
        assert replies.readline().startswith(b"220 ")
    with pytest.raises(ConnectionRefusedError):
        namespace.connect("127.0.0.1", 27399)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 27301))


def test_a_command_that_does_not_end_is_ended(namespace: Namespace):
    with pytest.raises(CommandFailed, match="did not end"):
        namespace.run(["sleep", "1000"], timeout_s=0.2)
    assert namespace.pids() == []


def test_deliveries_are_counted_by_recipient():
    sinks = Sinks()
    line = dict.fromkeys(Delivery.__slots__, "x") | {"recipients": ["a@b.test", "c@d.test"]}
    sinks._heard(line)
    assert sinks.counts() == {"x": 2}
    assert len(sinks.wait_for(2)) == 1
    sinks.forget()
    assert sinks.counts() == {}
