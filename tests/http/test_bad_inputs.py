"""Every text that a field must refuse is refused for its reason, not echoed, and leaves no trace."""

import json

import pytest

from tests.http.conftest import Furnished
from tests.http.fields import FIELDS, echoes
from tests.http.samples import pointers
from tests.vectors.rows import Row, ids, rows

pytestmark = pytest.mark.anyio

ROWS = rows("bad_inputs")
ENVELOPE_ADDRESSES = {"envelope.sender", "envelope.recipient"}


def value_of(row: Row) -> object:
    value = json.loads(row["value"])
    return value[0] * value[1] if isinstance(value, list) else value


def test_every_field_has_at_least_ten_rows() -> None:
    counts = {name: sum(row["field"] == name for row in ROWS) for name in FIELDS}
    corpus = {"relay.url", "path:relay-map name"}  # of the names: the same grammar as in bodies
    assert {name for name, count in counts.items() if count < 10} <= corpus


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
async def test_a_bad_text_is_refused_for_its_reason(row: Row, furnished: Furnished) -> None:
    before = await furnished.everything()
    value = value_of(row)
    sent = FIELDS[row["field"]](value)
    answer = await sent.by(furnished.api)
    if row["field"] in ENVELOPE_ADDRESSES:
        assert (answer.status_code, answer.json()["outcome"]) == (200, "undeliverable")
    elif sent.at is None or (sent.at[0] == "path" and ("/" in str(value) or value == "")):
        assert answer.status_code in {404, 405, 422}
    else:
        assert answer.status_code == 422, answer.text
        assert pointers(answer) == [(*sent.at, row["code"])]
    assert not echoes(value, answer)
    assert await furnished.everything() == before
