"""A rule takes the envelopes that its conditions say, and names the first condition that does not."""

import json

import pytest
from hypothesis import given

from app.routing.conditions import CONDITIONS
from app.routing.document import read_rule
from app.routing.envelope import Envelope
from app.routing.rule import Match
from tests.unit.routing import strategies
from tests.unit.routing.making import envelope
from tests.vectors.rows import Row, ids, rows

ROWS = rows("conditions")


def match(text: str) -> Match:
    return read_rule({"name": "r", "match": json.loads(text), "action": {"kind": "reject"}}).match


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_a_match_answers_what_its_row_says(row: Row) -> None:
    failing = match(row["match"]).first_failing(envelope(row))
    assert (failing or "yes") == row["answer"]


def test_every_condition_and_every_not_says_yes_and_no_in_some_row() -> None:
    """An inverted condition would be seen: rows stand on both of its sides."""
    sides = {f"{side}{name}" for side in ("", "not.") for name in CONDITIONS}
    said_no = {row["answer"] for row in ROWS} - {"yes"}
    said_yes = {
        f"{side}{condition.name}"
        for row in ROWS
        if row["answer"] == "yes"
        for side, conditions in zip(
            ("", "not."),
            (match(row["match"]).all_of, match(row["match"]).none_of),
            strict=True,
        )
        for condition in conditions
    }
    assert said_no == sides
    assert said_yes == sides


@given(strategies.matches, strategies.envelopes)
def test_a_condition_holds_when_one_of_its_patterns_alone_would(
    whole: Match, letter: Envelope
) -> None:
    for condition in (*whole.all_of, *whole.none_of):
        parse = CONDITIONS[condition.name]
        alone = [parse((text,)).holds(letter) for text in condition.texts()]
        assert condition.holds(letter) == any(alone)


@given(strategies.matches)
def test_a_condition_says_its_patterns_in_canonical_spelling(whole: Match) -> None:
    for condition in whole.all_of:
        assert CONDITIONS[condition.name](condition.texts()) == condition
