"""How a figure says what was found, and when a limit is missed."""

from typing import Any

import pytest

from bench.rounds import Figure, Limit, interleave


def figure(limit: Limit | tuple[Limit, ...], ours: float = 30.0) -> Figure:
    return Figure("f", "µs", {"ours": ours, "idiomatic": 90.0, "bare": 15.0}, {"ours": limit})


@pytest.mark.parametrize(
    ("limit", "met", "said"),
    [
        (Limit(times=2), True, "at most 2 x"),
        (Limit(times=1.9), False, "at most 1.9 x MISSED"),
        (Limit(more=15), True, "at most + 15"),
        (Limit(more=14), False, "at most + 14 MISSED"),
        (Limit(at_most=30), True, "at most 30"),
        (Limit(at_most=29), False, "at most 29 MISSED"),
        (Limit(least_times=2), True, "at least 2 x"),
        (Limit(least_times=2.1), False, "at least 2.1 x MISSED"),
        (Limit(times=0.4, against="idiomatic"), True, "at most 0.4 x idiomatic"),
        (Limit(times=0.3, against="idiomatic"), False, "at most 0.3 x idiomatic MISSED"),
        (Limit(least_times=0.7, goal="1 x"), True, "at least 0.7 x, goal 1 x"),
        ((Limit(times=2), Limit(at_most=1)), False, "at most 2 x; at most 1 MISSED"),
    ],
)
def test_a_limit_is_met_or_missed(limit: Limit, met: object, said: str) -> None:
    measured = figure(limit)
    assert measured.met is met
    assert f"({said})" in measured.lines()[1]
    assert measured.document()["met"] is met


def test_json_has_what_the_text_has() -> None:
    said: Any = figure(Limit(times=2)).document()["contenders"]
    assert [each["median"] for each in said] == [30.0, 90.0, 15.0]
    assert [each["ratio"] for each in said] == [2.0, 6.0, 1.0]
    assert said[0]["limits"] == [{"limit": "at most 2 x", "found": 2.0, "met": True}]


def test_each_contender_runs_once_a_round_in_turn_and_the_first_round_does_not_count() -> None:
    ran: list[str] = []

    def run(name: str, cost: float) -> float:
        ran.append(name)
        return cost if len(ran) > 2 else 1e9

    found = interleave("f", "µs", {"a": lambda: run("a", 2), "b": lambda: run("b", 1)}, rounds=3)
    assert ran == ["a", "b"] * 4
    assert found.medians == {"a": 2, "b": 1}
