"""An overlay is the mapping that a dict would be, whatever became of it and in how many steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing.overlay import Overlay
from tests.unit.routing.counting import Counting

rows = st.dictionaries(st.integers(0, 120), st.integers(1, 9), max_size=120)
steps = st.lists(
    st.dictionaries(st.integers(0, 120), st.none() | st.integers(1, 9), max_size=60), max_size=6
)


@given(rows, steps)
def test_it_is_what_a_dict_is_after_the_same_changes(
    start: dict[int, int], changes: list[dict[int, int | None]]
) -> None:
    plain, overlay = dict(start), Overlay(start)
    for step in changes:
        before = dict(overlay)
        after = overlay.after(step)
        assert dict(overlay) == before, "a successor leaves its predecessor as it was"
        for key, value in step.items():
            plain.pop(key, None)
            if value is not None:
                plain[key] = value
        assert overlay.differing(after) >= {
            k for k in {*before, *plain} if before.get(k) != plain.get(k)
        }
        overlay = after
        assert len(overlay) == len(plain)
        assert dict(overlay) == plain == dict(overlay.items())
        assert sorted(overlay) == sorted(plain)
        assert sorted(overlay.values()) == sorted(plain.values())
        for key in range(121):
            assert overlay.get(key, -1) == plain.get(key, -1)
            assert (key in overlay) == (key in plain)
            if key not in plain:
                with pytest.raises(KeyError):
                    overlay[key]
    assert start.items() == dict(Overlay(start)).items()


def test_one_change_of_many_rows_walks_over_none_of_them() -> None:
    kept = Counting({f"k{number}": number for number in range(1, 10_001)})
    overlay: Overlay[str, int] = Overlay(kept)
    for number in range(1, 101):
        overlay = overlay.after({f"k{number}": None, f"new{number}": number})
    assert (len(overlay), kept.walks) == (10_000, 0)
    assert "k1" not in overlay
    assert overlay["new100"] == 100
    for number in range(1, 101):
        overlay = overlay.after({f"more{number}": number})
    assert kept.walks == 1, "now and then they are copied, so that what is over them stays small"
    assert len(overlay) == 10_100
