"""A push to an MTA that asks: killed at any step, with a full disk, and to and from static files."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from app.agent.apply import SWITCHING, WRITING
from tests.mta.agents import table_program
from tests.mta.agents.answers import status
from tests.mta.agents.machine import INCLUDE, PORT, STATE_DIR, A, B, C, Machine
from tests.mta.agents.wanting import keyed_table, relay_map, rule, wanted
from tests.mta.bed.injector import Submission
from tests.mta.bed.namespace import Namespace
from tests.mta.bed.sinks import Sink

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        table_program.install(namespace)
        yield Machine.open(namespace, A, B, C)


@pytest.fixture
def machine(shared: Machine) -> Machine:
    machine = shared.fresh()
    machine.site(live=True)
    return machine


def over_pool(revision: int, sink: Sink, **rule_more: Any) -> dict[str, Any]:
    """Mail for x.test goes over a map to one sink."""
    rules = [rule(1, "map:pool", "x.test", **rule_more)]
    return wanted(revision, rules, [relay_map("pool", sink.url())])


def queue(machine: Machine, n: int, domain: str = "x.test") -> list[str]:
    """Let smtpd take messages and keep them, also over a start; their probes."""
    machine.sinks.refuse("a")
    machine.smtpd.hold()
    probes = [f"q{next(_NUMBERS)}" for _ in range(n)]
    sent = [Submission(each, "s@sender.test", f"u@{domain}", PORT) for each in probes]
    assert {reply.stage for reply in machine.injector.send(sent)} == {"accepted"}
    return probes


_NUMBERS = count()


def arrive(machine: Machine, probes: list[str]) -> set[str]:
    """Let queued mail go, until all of it has come; to which sinks."""
    machine.sinks.accept("a")
    machine.smtpd.ctl_status("resume", "mta")  # no as well, where it was started since
    taken = machine.deliver(len(probes), lambda each: each.probe in probes)
    assert sorted(each.probe for each in taken) == sorted(probes)
    return {each.sink for each in taken}


# --- kills


def killed(machine: Machine, push: dict[str, Any], step: str) -> bool:
    """Let the agent be killed before a step of a push; whether it came to that."""
    return bool(machine.agent.call("do", what="apply", wanted=push, kill_at=step)["killed"])


LIVE_STEPS = ("read", "secrets", "render", *WRITING)


@pytest.mark.parametrize("step", LIVE_STEPS)
def test_killed_at_any_step_of_a_live_push_the_old_or_the_new_is_answered(
    machine: Machine, step: str
):
    machine.do("first")
    assert machine.ended(over_pool(1, A)) == ("applied", "restart")
    pids, push = machine.pids(), over_pool(2, B)
    assert killed(machine, push, step)
    # Nobody has recovered yet, and nobody needs to: smtpd asks on.
    now = status(machine.namespace)["revision"]
    assert now == (2 if step == "observe" else 1)
    assert machine.goes_to("x.test") == {1: "a", 2: "b"}[now]
    after = machine.do("aftermath")
    assert (after["torn"], after["left"]) == ([], [])
    assert after["report"]["state"] == "live"
    assert after["report"]["observed"]["revision"] == now
    assert machine.ended(push)[0] == "applied"
    assert machine.goes_to("x.test") == "b"
    assert machine.pids() == pids


@pytest.mark.parametrize(
    ("limit_s", "why"),
    [
        (3.0, "the table program does not answer in time"),
        (900.0, "no table program of the smtpd that runs says anything"),
    ],
)
def test_a_push_that_no_program_answers_for_ends_and_says_so(
    machine: Machine, limit_s: float, why: str
):
    """However long an apply may take, a program that says nothing is not waited for so long."""
    machine.do("first")
    assert machine.ended(over_pool(1, A)) == ("applied", "restart")
    machine.site(live=True, apply_limit_s=limit_s)
    program = status(machine.namespace)["pid"]
    ended = machine.ended(over_pool(2, B), run_at={"write": f"kill -STOP {program}"})
    machine.namespace.run(["sh", "-c", f"kill -CONT {program}"])
    assert ended == ("unknown", "live")
    assert machine.detail == f"it is written, and no answer from it was seen: {why}"
    assert machine.ended(over_pool(3, B))[0] == "applied"
    assert machine.goes_to("x.test") == "b"


STEPS = ("would-strand", "stage", "check", *SWITCHING, "write", "observe:2")


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_of_a_push_with_new_actions_the_old_or_the_new_is_answered(
    machine: Machine, step: str
):
    machine.do("first")
    assert machine.ended(over_pool(1, A)) == ("applied", "restart")
    push = over_pool(2, B, helo="other.test")
    assert killed(machine, push, step)
    after = machine.do("aftermath")
    assert (after["torn"], after["left"]) == ([], [])
    assert after["report"]["state"] == "live"
    now = after["report"]["observed"]["revision"]
    assert machine.goes_to("x.test") == {1: "a", 2: "b"}[now]
    assert now == (2 if step == "observe:2" else 1)
    assert machine.ended(push)[0] == "applied"
    assert machine.goes_to("x.test") == "b"


# --- to and from static files


def test_static_files_give_way_to_the_program_and_queued_mail_arrives(machine: Machine):
    machine.site()
    machine.do("first")
    assert machine.ended(over_pool(1, A)) == ("applied", "restart")
    probes = queue(machine, 5)
    machine.site(live=True)
    assert machine.do("look")["observed"]["revision"] == 1
    assert machine.ended(over_pool(2, B)) == ("applied", "restart"), machine.detail
    assert 'action "rm-r1"' in machine.read(INCLUDE)
    # Under the action of before, with the relays of before.
    assert arrive(machine, probes) == {"a"}
    assert machine.goes_to("x.test") == "b"
    assert machine.do("look")["state"] == "live"


STATIC_STEPS = ("write-ahead", *SWITCHING, "write", "observe:2")


@pytest.mark.parametrize("step", STATIC_STEPS)
def test_killed_while_the_program_takes_over_mail_is_taken_all_the_same(
    machine: Machine, step: str
):
    """An smtpd that asks finds the routing from its start on: no message is refused for good."""
    machine.site()
    machine.do("first")
    assert machine.ended(over_pool(1, A)) == ("applied", "restart")
    machine.site(live=True)
    push = over_pool(2, B)
    assert killed(machine, push, step)
    after = machine.do("aftermath")
    assert (after["torn"], after["left"]) == ([], [])
    now = after["report"]["observed"]["revision"]
    assert machine.goes_to("x.test") == {1: "a", 2: "b"}[now]
    assert now == (1 if step in {"write-ahead", "intent", "activate"} else 2)
    assert machine.ended(push)[0] == "applied"
    assert machine.goes_to("x.test") == "b"


def test_the_program_does_not_give_way_while_queued_mail_needs_it(machine: Machine):
    machine.do("first")
    assert machine.ended(over_pool(1, A)) == ("applied", "restart")
    probes, pids = queue(machine, 3), machine.pids()
    machine.site()
    assert machine.ended(over_pool(2, B)) == ("refused", "none")
    assert "rm-map-pool" in machine.detail
    assert machine.pids() == pids
    assert arrive(machine, probes) == {"a"}
    machine.smtpd.wait_for_queue(0)
    assert machine.ended(over_pool(3, B)) == ("applied", "restart"), machine.detail
    assert "rm-walk" not in machine.read(INCLUDE)
    assert machine.goes_to("x.test") == "b"
    # And back again.
    machine.site(live=True)
    assert machine.ended(over_pool(4, C)) == ("applied", "restart"), machine.detail
    assert machine.goes_to("x.test") == "c"


# --- what mail is queued under


def test_mail_under_a_map_that_is_gone_goes_to_its_last_relays(machine: Machine):
    machine.do("first")
    assert machine.ended(over_pool(1, A)) == ("applied", "restart")
    probes = queue(machine, 4)
    other = wanted(2, [rule(1, "map:other", "x.test")], [relay_map("other", B.url())])
    assert machine.ended(other)[0] == "applied", machine.detail
    for revision in range(3, 6):  # and it is kept, whatever is pushed after that
        more = wanted(
            revision, [rule(1, "map:other", "x.test")], [relay_map("other", B.url(), C.url())]
        )
        assert machine.ended(more)[0] == "applied", machine.detail
    assert arrive(machine, probes) == {"a"}


def test_mail_under_a_table_that_is_gone_goes_where_it_led(machine: Machine):
    machine.do("first")
    tables = [keyed_table("keyed", "recipient-domain", {"x.test": A.url()})]
    assert machine.ended(wanted(1, [rule(1, "table:keyed")], tables=tables))[0] == "applied"
    probes = queue(machine, 4)
    assert machine.ended(over_pool(2, B))[0] == "applied", machine.detail
    assert machine.ended(over_pool(3, C))[0] == "applied", machine.detail
    assert arrive(machine, probes) == {"a"}


# --- a new smtpd that does not serve


def test_a_generation_that_does_not_serve_is_undone_and_the_old_is_asked(machine: Machine):
    script = """#!/bin/sh
case " $* " in *" -n "*|*" -h "*) exec /usr/sbin/smtpd "$@";; esac
grep -q 'bad[.]test' /run/agent/live/relaymap.conf && exit 1
exec /usr/sbin/smtpd "$@"
"""
    machine.smtpd.write("/run/bed/smtpd-faulty", script, mode=0o755)
    machine.site(live=True, smtpd="/run/bed/smtpd-faulty")
    machine.do("first")
    assert machine.ended(over_pool(1, A)) == ("applied", "restart")
    probes = queue(machine, 2)
    state, _ = machine.ended(over_pool(2, B, helo="bad.test"))
    assert state == "rolled-back"
    report = machine.do("look")
    assert (report["state"], report["observed"]["revision"]) == ("live", 1)
    assert arrive(machine, probes) == {"a"}
    assert machine.goes_to("x.test") == "a"
    assert machine.ended(over_pool(3, B)) == ("applied", "live"), machine.detail


# --- the disk


def test_a_full_disk_fails_the_write_and_changes_nothing(machine: Machine):
    machine.do("first")
    assert machine.ended(over_pool(1, A)) == ("applied", "restart")
    machine.end_smtpd()
    data = f"{STATE_DIR}/data"
    mount = f"cp -a {data} /run/kept && mount -t tmpfs -o size=1m none {data}"
    machine.namespace.run(["sh", "-c", f"{mount} && cp -a /run/kept/. {data} && rm -r /run/kept"])
    try:
        machine.do("first")
        pids = machine.pids()
        entries = {f"{'d' * 40}{n}.test": "map:pool" for n in range(20_000)}
        tables = [keyed_table("big", "sender-domain", entries, "map:pool")]
        rules = [rule(1, "table:big", "x.test")]
        big = wanted(2, rules, [relay_map("pool", B.url())], tables=tables)
        ended = machine.ended(big)
        assert ended == ("failed", "none"), machine.detail
        assert status(machine.namespace)["revision"] == 1
        assert machine.pids() == pids
        assert machine.goes_to("x.test") == "a"
        assert machine.ended(over_pool(3, B)) == ("applied", "live"), machine.detail
        assert machine.goes_to("x.test") == "b"
    finally:
        machine.end_smtpd()
        machine.namespace.run(["umount", "-l", data])
