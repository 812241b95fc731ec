"""Every field takes what its rows say, keeps it in one spelling, and refuses the rest for a reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing.errors import Refused
from app.routing.names import keys_of
from tests.unit.routing.fields import PARSERS
from tests.vectors.rows import Row, ids, rows

SPELLINGS = rows("spellings")
BAD = rows("bad_inputs")


def sent(row: Row) -> str:
    """The text of a row of bad inputs: a JSON string, or `["text", times]` for a long one."""
    value = json.loads(row["value"])
    return value if isinstance(value, str) else value[0] * value[1]


@pytest.mark.parametrize("row", SPELLINGS, ids=ids(SPELLINGS))
def test_a_field_keeps_its_text_in_one_spelling(row: Row) -> None:
    parse = PARSERS[row["field"]]
    assert str(parse(row["text"])) == row["canonical"]
    assert str(parse(row["canonical"])) == row["canonical"]


@pytest.mark.parametrize("row", BAD, ids=ids(BAD))
def test_a_bad_input_is_refused_for_its_reason_and_not_repeated(row: Row) -> None:
    text = sent(row)
    with pytest.raises(Refused) as refused:
        PARSERS[row["field"]](text)
    assert refused.value.code == row["code"]
    assert len(text.strip()) < 4 or text not in refused.value.fault.detail


def test_every_field_has_ten_bad_inputs() -> None:
    counted = {field: sum(row["field"] == field for row in BAD) for field in PARSERS}
    assert {field: count for field, count in counted.items() if count < 10} == {}


@given(st.sampled_from(sorted(PARSERS)), st.text(max_size=30))
def test_a_field_answers_a_value_or_a_refusal_and_nothing_else(field: str, text: str) -> None:
    try:
        value = PARSERS[field](text)
    except Refused:
        return
    again = "local" if value is None else str(value)
    assert "\n" not in again
    assert "\x00" not in again


@given(
    st.sampled_from([f for f in sorted(PARSERS) if not f.startswith(("credential.", "envelope."))]),
    st.text(max_size=12),
    st.sampled_from(['"', "\n", "\r", "\x00", "\\", "\u2028", "\x85"]),
    st.text(max_size=12),
)
def test_nothing_that_would_end_a_line_or_a_quote_is_taken(
    field: str, before: str, sign: str, after: str
) -> None:
    """Descriptions may hold quotes: no MTA's file holds descriptions."""
    if sign in '"\\' and PARSERS[field] is PARSERS["rule.description"]:
        return
    with pytest.raises(Refused):
        PARSERS[field](before + sign + after)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("joe@a.b.c", ["joe@a.b.c", "a.b.c", "*.b.c", "*.c"]),
        ("a.b.c", ["a.b.c", "*.b.c", "*.c"]),
        ("*.b.c", ["*.b.c", "*.c"]),
        ("c", ["c"]),
        ("<>", ["<>"]),
        ("joe@[192.0.2.1]", ["joe@[192.0.2.1]"]),
        ("[192.0.2.1]", ["[192.0.2.1]"]),
    ],
)
def test_keys_go_from_the_most_specific_to_the_least(text: str, keys: list[str]) -> None:
    assert list(keys_of(text)) == keys
