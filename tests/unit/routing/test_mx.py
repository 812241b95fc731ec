"""The mail exchangers of a domain come in the order of RFC 5321 5.1, and RFC 7505 is obeyed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing import mx
from app.routing.route import MxFailure, MxHosts
from tests.vectors.rows import Row, ids, rows

ROWS = rows("mx")


def records(text: str) -> list[mx.Record]:
    pairs = (record.split(":") for record in text.split())
    return [(int(preference), host.strip('"')) for preference, host in pairs]


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_a_domain_has_the_exchangers_of_its_row(row: Row) -> None:
    answer = mx.answer(
        row["domain"], records(row["records"]), row["unreachable"].split(), float(row["chance"])
    )
    said = answer.code if isinstance(answer, MxFailure) else " ".join(answer.hosts)
    assert said == row["answer"]


def test_an_answer_says_whether_the_exchanger_is_implicit() -> None:
    assert mx.answer("i.test", [], (), 0) == MxHosts(("i.test",), implicit=True)
    assert mx.answer("i.test", [(0, "i.test")], (), 0) == MxHosts(("i.test",), implicit=False)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_order_of_equal_exchangers_is_as_likely_as_any_other(count: int) -> None:
    equals = [(10, f"{n}.test") for n in range(count)]
    steps = 24 * 100
    seen = Counter(mx.order(equals, (n + 0.5) / steps) for n in range(steps))
    orders = {2: 2, 3: 6, 4: 24}[count]
    assert len(seen) == orders
    assert set(seen.values()) == {steps // orders}


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcdefghijklmnopqrstuv")), max_size=30),
    st.floats(0, 1, exclude_max=True),
)
def test_a_worse_preference_never_comes_first(found: list[mx.Record], uniform: float) -> None:
    best: dict[str, int] = {}
    for preference, host in found:
        best[host] = min(preference, best.get(host, preference))
    hosts = mx.order(found, uniform)
    preferences = [best[host] for host in hosts]
    assert preferences == sorted(best.values())[: mx.MAX_HOSTS]
    assert len(set(hosts)) == len(hosts)


def test_only_null_mx_and_nxdomain_are_for_ever() -> None:
    failures = [value for value in vars(mx).values() if isinstance(value, MxFailure)]
    assert {failure.code for failure in failures if failure.permanent} == {"null-mx", "nxdomain"}
    assert len(failures) == 6
