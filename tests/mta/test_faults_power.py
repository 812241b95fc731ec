"""A power cut at any moment: nothing is relied on before it is on the disk.

No test can cut the power; so every call of a push is followed, with what of it is synced by then.
"""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.mta.agents.machine import STATE_DIR, A, B, Machine
from tests.mta.agents.strace import CHANGES, STARTS, Disk
from tests.mta.agents.wanting import relay_map, rule, wanted
from tests.mta.bed.namespace import Namespace

RULES = [rule(1, "map:pool", "x.test")]
POOL = [relay_map("pool", A.url(), B.url())]
TO_A = wanted(1, RULES, POOL, out=[("pool", "r1")])
TABLE_UPDATE = wanted(2, RULES, POOL, out=[("pool", "r0")])
RESTART = wanted(2, [rule(1, B.url(), "x.test")])
BY_HAND = {"observe": f"echo '# by hand' >>{STATE_DIR}/live/relaymap.conf"}

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="not installed: strace")


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        yield Machine.open(namespace, A, B)


@pytest.fixture
def machine(shared: Machine) -> Machine:
    return shared.fresh()


def followed(machine: Machine, push: dict[str, object], **how: Any) -> tuple[str, str, Disk]:
    """Push, with every call followed; how that ended, and what was made of the disk."""
    machine.do("first")
    machine.ended(TO_A)
    trace = f"trace={','.join((*CHANGES, *STARTS, 'openat'))}"
    done = machine.agent.call("do", what="apply", wanted=push, trace=trace, **how)
    ended = done["answer"]["result"]
    return ended["state"], ended["reload"], Disk.after(done["log"], STATE_DIR)


@pytest.mark.parametrize(
    ("push", "how", "ends", "switches"),
    [
        (RESTART, {}, ("applied", "restart"), 1),
        (TABLE_UPDATE, {}, ("applied", "table-update"), 1),
        (RESTART, {"run_at": BY_HAND}, ("rolled-back", "restart"), 2),
    ],
    ids=["restart", "table update", "going back"],
)
def test_nothing_is_relied_on_before_it_is_synced(
    machine: Machine,
    push: dict[str, object],
    how: dict[str, object],
    ends: tuple[str, str],
    switches: int,
):
    state, reload, disk = followed(machine, push, **how)
    assert (state, reload) == ends
    assert disk.early == []
    assert disk.switches == switches


def test_an_agent_that_syncs_nothing_is_caught(machine: Machine):
    machine.site(unsynced=True)
    state, _, disk = followed(machine, RESTART)
    assert state == "applied"
    root = f"{STATE_DIR}/generations"
    assert f"{root}/3.json is named before {root}/3/relaymap.conf is synced" in disk.early
    assert f"{STATE_DIR}/live is named before {root}/3.json is synced" in disk.early
    assert f"{STATE_DIR}/live is named before {STATE_DIR}/intent.json is synced" in disk.early
    assert f"a program is started before {STATE_DIR}/live is synced" in disk.early
