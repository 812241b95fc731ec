"""Going back that is interrupted, or that cannot be ended, strands no mail and forgets no push."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.mta.agents.machine import INCLUDE, PORT, STATE_DIR, A, B, C, Machine, operator
from tests.mta.agents.wanting import relay_map, rule, wanted
from tests.mta.bed.injector import Submission
from tests.mta.bed.namespace import Namespace

TO_A = wanted(1, [rule(1, A.url(), "x.test")])
TO_B = wanted(2, [rule(1, B.url(), "x.test")])
TO_POOL = wanted(
    2, [rule(2, "map:pool", "y.test"), rule(3, B.url(), "z.test")], [relay_map("pool", B.url())]
)
FAILS = ("/run/bed/once", "/run/bed/twice")
"""Each that exists lets one start of the old generation die."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        yield Machine.open(namespace, A, B, C)


@pytest.fixture
def machine(shared: Machine) -> Machine:
    return shared.fresh()


def dies_late(machine: Machine) -> None:
    """Let smtpd serve for a second with the pool, and the old generation die once if so told."""
    path = "/run/bed/smtpd-faulty"
    script = f"""#!/bin/sh
case " $* " in *" -n "*|*" -h "*) exec /usr/sbin/smtpd "$@";; esac
if grep -q 'match.*"rm-r2"' {STATE_DIR}/live/relaymap.conf; then
  (sleep 1; kill -9 $$) & exec /usr/sbin/smtpd "$@"
fi
for fails in {" ".join(FAILS)}; do
  if rm $fails 2>/dev/null; then echo "fatal: not this time"; exit 1; fi
done
exec /usr/sbin/smtpd "$@"
"""
    machine.smtpd.write(path, script, mode=0o755)
    machine.site(smtpd=path, settle_s=2, apply_limit_s=20)


def push_that_takes_mail_and_dies(machine: Machine, kill_at: str = "") -> dict[str, Any]:
    """Push the pool; a message for y.test is accepted, and waits, before smtpd dies."""
    machine.do("first")
    machine.ended(TO_A)
    dies_late(machine)
    machine.sinks.behave("b", {"mail": "450 4.3.0 later"})
    with ThreadPoolExecutor(1) as beside:
        do = partial(machine.agent.call, "do", what="apply", wanted=TO_POOL, kill_at=kill_at)
        ending = beside.submit(do)
        machine.wait_until_taken("y.test")
        done: dict[str, Any] = ending.result()
    machine.sinks.behave("b")
    return done


@pytest.mark.parametrize("kill_at", ["reload-old", "reload-old:2", "observe-old:2", "undo"])
def test_killed_on_its_way_back_the_agent_ends_it_when_it_starts(machine: Machine, kill_at: str):
    assert push_that_takes_mail_and_dies(machine, kill_at=kill_at)["killed"]
    ended = machine.do("recover")
    assert (ended["push"], ended["state"]) == (2, "rolled-back")
    report = machine.do("look")
    assert (report["state"], report["observed"]["revision"]) == ("live", 1)
    assert [stone["action"] for stone in report["tombstones"]] == ["rm-r2"]
    assert machine.do("recover") is None
    machine.deliver(1, lambda delivery: delivery.sink == "b")


@pytest.mark.parametrize(("fails", "kept"), [(1, ["rm-r2"]), (2, ["rm-r2", "rm-r3"])])
def test_what_could_not_be_put_back_is_made_up_for_by_the_next_push(
    machine: Machine, fails: int, kept: list[str]
):
    """It ends the way back first; where that fails too, it starts smtpd anew and keeps it all."""
    for path in FAILS[:fails]:
        machine.smtpd.write(path, "")
    done = push_that_takes_mail_and_dies(machine)
    ended = done["answer"]["result"]
    assert ended["state"] == "rolled-back"
    assert "but: " in ended["detail"]
    assert machine.do("look")["observed"] is None, "nobody knows what it would be"
    again = wanted(3, [rule(1, A.url(), "x.test")])
    assert machine.ended(again) == ("applied", "restart"), "though the rules are those of before"
    assert machine.goes_to("x.test") == "a"
    stones = [stone["action"] for stone in machine.do("look")["tombstones"]]
    assert stones == kept
    machine.deliver(1, lambda delivery: delivery.sink == "b")


def test_what_somebody_elses_start_loaded_is_not_lost_in_our_restart(machine: Machine):
    """Nobody has seen what that smtpd loaded; the queue says what it must have."""
    own = (
        f'action "shop" relay host "{C.url()}"',
        'match from any for domain "s.test" action "shop"',
    )
    machine.smtpd.configure(operator(*own))
    machine.do("first")
    machine.ended(TO_A)
    machine.end_smtpd()
    machine.smtpd.start()
    machine.sinks.refuse("c")
    waiting = Submission("waiting", "s@sender.test", "u@s.test", PORT, client="127.0.0.1")
    machine.injector.send([waiting])
    machine.smtpd.configure(operator())
    ended = machine.do("apply", wanted=TO_B)
    assert ended["state"] == "refused"
    assert "shop" in ended["detail"]
    machine.smtpd.configure(operator(own[0]))
    machine.sinks.accept("c")
    assert machine.ended(TO_B | {"push": 3}) == ("applied", "restart")
    machine.deliver(1, lambda delivery: delivery.sink == "c")
    machine.smtpd.stop()


def test_an_address_that_came_since_smtpd_started_can_be_a_source(machine: Machine):
    machine.do("first")
    machine.ended(TO_A)
    machine.namespace.run(["ip", "address", "add", "203.0.113.77/32", "dev", "lo"])
    rules = [rule(1, B.url(), "x.test", sources=["203.0.113.77"])]
    assert machine.ended(wanted(2, rules)) == ("applied", "restart"), machine.detail
    assert machine.goes_to("x.test") == "b"
    machine.namespace.run(["ip", "address", "delete", "203.0.113.77/32", "dev", "lo"])


def test_whatever_was_written_by_hand_is_replaced(machine: Machine):
    machine.do("first")
    machine.ended(TO_A)
    conf = machine.namespace.outside(f"{STATE_DIR}/generations/2/relaymap.conf")
    by_hand = '# ge\xe4ndert\naction "hand" relay host "smtp://elsewhere.test"\n'
    conf.write_bytes(conf.read_bytes() + by_hand.encode())
    assert machine.ended(TO_B) == ("applied", "restart"), machine.detail
    assert machine.goes_to("x.test") == "b"
    assert "hand" not in machine.read(INCLUDE)
