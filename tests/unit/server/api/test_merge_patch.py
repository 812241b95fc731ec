"""Merge patch does what RFC 7396 says, and leaves what it was given as it was."""

import json

import pytest

from app.server.api.merge_patch import merged
from tests.vectors.rows import Row, ids, rows

ROWS = rows("merge_patch")


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_a_patch_makes_of_a_target_what_its_row_says(row: Row) -> None:
    target, patch = json.loads(row["target"]), json.loads(row["patch"])
    result = json.dumps(merged(target, patch), separators=(",", ":"))
    assert result == row["result"], "the order of members is that of the target"
    assert (target, patch) == (json.loads(row["target"]), json.loads(row["patch"]))


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_a_patch_that_is_made_again_changes_nothing(row: Row) -> None:
    patch = json.loads(row["patch"])
    once = merged(json.loads(row["target"]), patch)
    assert merged(once, patch) == once
