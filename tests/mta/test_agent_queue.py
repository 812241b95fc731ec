"""No accepted mail is stranded: whatever pushes rename and remove, queued mail finds its action."""

import time
from collections.abc import Iterator
from itertools import count

import pytest

from tests.mta.agents.machine import INCLUDE, PORT, A, B, Machine, operator
from tests.mta.agents.wanting import relay_map, rule, wanted
from tests.mta.bed.injector import Submission
from tests.mta.bed.namespace import Namespace

DAY_S = 86_400
LONG_AGO = 1_000_000_000
_LIMIT_S = 60


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        yield Machine.open(namespace, A, B)


@pytest.fixture
def machine(shared: Machine) -> Machine:
    return shared.fresh()


def send(machine: Machine, *probes: str, domain: str) -> None:
    replies = machine.injector.send(
        Submission(probe, "s@sender.test", f"u@{domain}", PORT, client="127.0.0.1")
        for probe in probes
    )
    assert [reply for reply in replies if not reply.accepted] == []


def all_are_known(machine: Machine) -> bool:
    """Whether smtpd has taken every envelope on disk up again; one without its action it never does.

    It reads the queue little by little after its start, so this is waited for.
    """
    limit = time.monotonic() + _LIMIT_S
    while len(machine.smtpd.ctl("show", "queue").splitlines()) != len(machine.smtpd.queue()):
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True


def test_mail_queued_across_pushes_that_rename_and_remove_rules_arrives(machine: Machine):
    machine.do("first")
    machine.sinks.refuse("a")
    numbers, sent, known = count(1), 0, []
    for revision in range(1, 11):
        # Every push has other rules, by number and name, and other maps: what was is gone.
        direct, pooled, pool = next(numbers), next(numbers), f"pool-{revision}"
        rules = [rule(direct, A.url(), "x.test"), rule(pooled, f"map:{pool}", "y.test")]
        push = wanted(revision, rules, [relay_map(pool, A.url())])
        assert machine.ended(push) == ("applied", "restart"), machine.detail
        known.append(all_are_known(machine))
        for domain in ("x.test", "y.test"):
            send(machine, *(f"{revision}-{domain}-{n}" for n in range(10)), domain=domain)
            sent += 10
    machine.sinks.accept("a")
    assert machine.ended(wanted(11)) == ("applied", "restart")
    known.append(all_are_known(machine))
    assert (sent, known) == (200, [True] * 11)
    taken = machine.deliver(200)
    assert len({delivery.probe for delivery in taken}) == len(taken) == 200
    machine.smtpd.wait_for_queue(0)


def at(machine: Machine, now_s: int) -> None:
    machine.site(now_s=now_s)


def test_a_retired_action_goes_when_its_time_is_over_and_no_mail_names_it(machine: Machine):
    at(machine, LONG_AGO)
    machine.do("first")
    machine.ended(wanted(1, [rule(1, A.url(), "x.test")]))
    machine.sinks.refuse("a")
    send(machine, "waiting", domain="x.test")
    machine.ended(wanted(2, [rule(2, B.url(), "x.test")]))
    (stone,) = machine.do("look")["tombstones"]
    assert (stone["action"], stone["retire_at"]) == ("rm-r1", LONG_AGO + 5 * DAY_S)
    # Its time is over, but the queue names it.
    at(machine, LONG_AGO + 6 * DAY_S)
    machine.ended(wanted(3, [rule(3, B.url(), "x.test")]))
    actions = [stone["action"] for stone in machine.do("look")["tombstones"]]
    assert actions == ["rm-r1", "rm-r2"]
    machine.sinks.accept("a")
    machine.ended(wanted(4, [rule(4, B.url(), "x.test")]))
    machine.deliver(1, lambda delivery: delivery.probe == "waiting")
    machine.smtpd.wait_for_queue(0)
    # Nothing names it now, and what is younger stays.
    machine.ended(wanted(5, [rule(5, B.url(), "x.test")]))
    actions = [stone["action"] for stone in machine.do("look")["tombstones"]]
    assert actions == ["rm-r2", "rm-r3", "rm-r4"]
    assert '"rm-r1"' not in machine.read(INCLUDE)


def test_a_long_ttl_keeps_a_retired_action_longer(machine: Machine):
    at(machine, LONG_AGO)
    machine.do("first")
    machine.ended(wanted(1, [rule(1, A.url(), "x.test", ttl_s=30 * DAY_S)]))
    machine.ended(wanted(2, [rule(2, B.url(), "x.test")]))
    (stone,) = machine.do("look")["tombstones"]
    assert stone["retire_at"] == LONG_AGO + 31 * DAY_S


def test_a_retired_action_alone_is_no_reason_to_restart(machine: Machine):
    at(machine, LONG_AGO)
    pool = relay_map("pool", A.url(), B.url())
    rules = [rule(2, "map:pool", "x.test")]
    machine.do("first")
    machine.ended(wanted(1, [rule(1, A.url(), "x.test")]))
    machine.ended(wanted(2, rules, [pool]))
    at(machine, LONG_AGO + 6 * DAY_S)
    out = wanted(3, rules, [pool], out=[("pool", "r0")])
    assert machine.ended(out) == ("applied", "table-update")
    assert '"rm-r1"' in machine.read(INCLUDE)


def test_a_queue_that_cannot_be_read_keeps_every_action(machine: Machine):
    machine.smtpd.configure(operator("queue compression"))
    at(machine, LONG_AGO)
    machine.do("first")
    machine.ended(wanted(1, [rule(1, A.url(), "x.test")]))
    machine.ended(wanted(2, [rule(2, A.url(), "x.test")]))
    machine.sinks.refuse("a")
    send(machine, "opaque", domain="x.test")
    at(machine, LONG_AGO + 6 * DAY_S)
    machine.ended(wanted(3, [rule(3, B.url(), "x.test")]))
    actions = [stone["action"] for stone in machine.do("look")["tombstones"]]
    assert actions == ["rm-r1", "rm-r2"]
    machine.sinks.accept("a")
