"""One push after another on a real smtpd: what it takes, what it refuses, and how it comes back."""

import pytest

from tests.mta.agents.machine import A, B, Machine
from tests.mta.agents.wanting import relay_map, rule, wanted
from tests.mta.bed.namespace import Namespace

TO_A = wanted(1, [rule(1, A.url(), "x.test")])
TO_B = wanted(2, [rule(1, B.url(), "x.test")])


@pytest.fixture
def machine(namespace: Namespace) -> Machine:
    return Machine.open(namespace, A, B)


def test_a_push_is_served_once_it_is_called_applied(machine: Machine):
    machine.do("first")
    assert machine.goes_to("x.test") == "550"
    assert machine.ended(TO_A) == ("applied", "restart")
    assert machine.goes_to("x.test") == "a"
    assert machine.ended(TO_B) == ("applied", "restart")
    assert machine.goes_to("x.test") == "b"
