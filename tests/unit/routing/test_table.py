"""A table finds the most specific entry of an envelope, and its default where there is none."""

import pytest

from app.routing.next_hop import parse_entry_hop
from app.routing.table import Table, TableKey, look_up, parse_key
from tests.unit.routing.making import envelope
from tests.vectors.rows import Row, ids, rows

ROWS = rows("tables")


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_an_envelope_finds_what_its_row_says(row: Row) -> None:
    kind = TableKey(row["key"])
    given = dict(entry.split("=") for entry in row["entries"].split())
    default = given.pop("default", None)
    table = Table("t", kind, None if default is None else parse_entry_hop(default))
    entries = {parse_key(kind, key): parse_entry_hop(via) for key, via in given.items()}
    found = look_up(table, entries, envelope(row))
    assert ("-" if found is None else str(found)) == row["found"]
