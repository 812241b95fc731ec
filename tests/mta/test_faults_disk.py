"""A disk that is full, or that refuses: the push fails, and nothing that the MTA reads was touched."""

from collections.abc import Iterator

import pytest

from tests.mta.agents.machine import STATE_DIR, A, B, Machine
from tests.mta.agents.wanting import relay_map, rule, wanted
from tests.mta.bed.namespace import Namespace

TO_A = wanted(1, [rule(1, A.url(), "x.test")])
BIG = wanted(
    2,
    [rule(2, "map:big", "x.test")],
    [relay_map("big", *(f"smtp+notls://h{n}.{'long' * 12}.test:{n + 1}" for n in range(1000)))],
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        yield Machine.open(namespace, A, B)


@pytest.fixture
def machine(shared: Machine) -> Machine:
    return shared.fresh()


def test_a_full_disk_fails_the_push_and_touches_nothing(machine: Machine):
    machine.namespace.run(["mkdir", "-m", "711", STATE_DIR])
    machine.namespace.run(["mount", "-t", "tmpfs", "-o", "size=300k,mode=711", "none", STATE_DIR])
    try:
        machine.do("first")
        machine.ended(TO_A)
        before, pids = tree(machine), machine.pids()
        ended = machine.do("apply", wanted=BIG)
        assert (ended["state"], ended["reload"]) == ("failed", "none")
        assert "no space left" in ended["detail"]
        assert tree(machine) == before
        assert machine.pids() == pids
        assert machine.goes_to("x.test") == "a"
        # What fits still goes.
        assert machine.ended(wanted(3, [rule(1, B.url(), "x.test")])) == ("applied", "restart")
    finally:
        machine.end_smtpd()
        machine.namespace.run(["umount", STATE_DIR])


def tree(machine: Machine) -> str:
    """Every file of the state directory but the agent's own memory, with its sum."""
    find = f"cd {STATE_DIR} && find . ! -name agent.json -type f -exec sha256sum {{}} + | sort"
    return machine.namespace.run(["sh", "-c", f"{find}; readlink live"]).stdout
