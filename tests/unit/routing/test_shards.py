"""Shards are the mapping that a dict would be, whatever became of them and in how many steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing.shards import Builder, Shards

FULL = 30_000
"""Rows that divide every branch."""
wide = st.integers(0, 5_000) | st.integers(-(2**62), 2**62)
changes = st.dictionaries(st.integers(0, 120) | wide, st.none() | st.integers(1, 9), max_size=60)
runs = st.builds(
    lambda start, count, value: dict.fromkeys(range(start, start + count), value),
    st.integers(0, 3_000),
    st.integers(0, 3_000),
    st.none() | st.integers(1, 9),
)
steps = st.lists(changes | runs, max_size=6)


def changed(plain: dict[int, int], step: dict[int, int | None]) -> dict[int, int]:
    return {key: value for key, value in {**plain, **step}.items() if value is not None}


def assert_is(shards: Shards[int, int], plain: dict[int, int]) -> None:
    assert len(shards) == len(plain)
    assert dict(shards.items()) == plain
    assert sorted(shards) == sorted(plain)
    assert sorted(shards.values()) == sorted(plain.values())
    assert sum(map(len, shards.leaves())) == len(plain)
    for key in {*range(121), *plain}:
        assert shards.get(key, -1) == plain.get(key, -1)
        assert (key in shards) == (key in plain)
        if key not in plain:
            with pytest.raises(KeyError):
                shards[key]


@given(st.dictionaries(wide, st.integers(1, 9), max_size=600), steps, steps)
def test_they_are_what_a_dict_is_after_the_same_changes(
    start: dict[int, int], one: list[dict[int, int | None]], other: list[dict[int, int | None]]
) -> None:
    """Two successors of one mapping are made; neither changes the other, nor where it came from."""
    first = Shards(start)
    ends: list[tuple[Shards[int, int], dict[int, int]]] = [(first, start)]
    for way in (one, other):
        shards, plain = first, start
        for step in way:
            after, plain_after = shards.after(step), changed(plain, step)
            assert_is(shards, plain)
            assert_is(after, plain_after)
            keys = {*plain, *plain_after}
            assert after.differing(shards) == shards.differing(after)
            assert after.differing(shards) == {
                key for key in keys if plain.get(key) != plain_after.get(key)
            }
            shards, plain = after, plain_after
        ends.append((shards, plain))
    for shards, plain in ends:
        assert_is(shards, plain)


@pytest.mark.parametrize("slices", [1, 7, 1000])
def test_many_rows_are_built_in_slices(slices: int) -> None:
    builder: Builder[int, int] = Builder()
    rows = {number * 7919: number + 1 for number in range(FULL)}
    keys, values = list(rows), list(rows.values())
    for start in range(slices):
        builder.add(keys[start::slices], values[start::slices])
    assert_is(builder.made(), rows)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 300, FULL])
def test_a_great_change_is_the_same_in_one_step_or_in_many(count: int) -> None:
    start = Shards({number: number + 1 for number in range(count)})
    step: dict[int, int | None] = dict.fromkeys(range(0, count, 2))
    step |= dict.fromkeys(range(FULL, 2 * FULL), 5)
    after = start.after(step)
    assert_is(after, changed(dict(start.items()), step))
    builder = Builder(start)
    for key, value in step.items():
        builder.add([key], [value])
    assert_is(builder.made(), dict(after.items()))
    assert_is(after.after(dict.fromkeys(after)), {})
    assert_is(start, {number: number + 1 for number in range(count)})


def test_one_change_of_many_rows_copies_one_leaf() -> None:
    shards = Shards({f"k{number}": number + 1 for number in range(FULL)})
    before = {id(leaf) for leaf in shards.leaves()}
    for number in range(100):
        after = shards.after({f"k{number}": None, f"new{number}": 1})
        own = [leaf for leaf in after.leaves() if id(leaf) not in before]
        assert len(own) <= 2
        assert sum(map(len, own)) < 100
        assert after.differing(shards) == {f"k{number}", f"new{number}"}


def test_what_grows_key_by_key_is_divided_part_by_part() -> None:
    """No one key makes more than a leaf be looked through again."""
    shards: Shards[str, int] = Shards()
    known: dict[int, object] = {}
    for number in range(20_000):
        shards = shards.after({f"k{number}": 1})
        if number % 500 < 3 or 250 < number < 260:
            leaves = {id(leaf): leaf for leaf in shards.leaves()}
            if number % 500 in {1, 2} or 251 < number < 260:
                own = [leaf for name, leaf in leaves.items() if name not in known]
                assert sum(map(len, own)) <= 257
            known = dict(leaves)
    assert len(list(shards.leaves())) > 64
    assert len(shards) == 20_000


def test_a_few_rows_are_one_leaf() -> None:
    shards = Shards(dict.fromkeys(range(200), 1))
    assert [len(leaf) for leaf in shards.leaves()] == [200]
    assert shards.after({}) is shards
    assert Shards.of(shards) is shards
    assert repr(Shards({1: 2})) == "Shards({1: 2})"


@pytest.mark.parametrize("count", [0, 1, 256, 257, 20_000, FULL])
def test_keys_are_given_one_value_where_they_are(count: int) -> None:
    shards: Shards[int, int] = Shards()
    for number in range(count):
        if number % 100 == 0:
            shards = shards.after(dict.fromkeys(range(number, min(count, number + 100)), 1))
    alike = shards.alike(7)
    assert_is(alike, dict.fromkeys(range(count), 7))
    assert_is(shards, dict.fromkeys(range(count), 1))
    step: dict[int, int | None] = {5: None, FULL + 5: 3}
    assert_is(alike.after(step), changed(dict.fromkeys(range(count), 7), step))
    grown = alike.after(dict.fromkeys(range(count, count + 1_000), 2))
    assert len(grown) == count + 1_000
    assert_is(alike, dict.fromkeys(range(count), 7))


@pytest.mark.parametrize("count", [0, 1, 300, 20_000])
def test_leaves_that_somebody_filed_are_taken_over(count: int) -> None:
    leaves: list[dict[str, int]] = [{} for _ in range(4096)]
    for number in range(count):
        key = f"key{number}"
        leaves[hash(key) & 4095][key] = number
    rows = Builder.of_leaves(leaves).made()
    assert len(rows) == count
    assert dict(rows.items()) == {f"key{number}": number for number in range(count)}
    assert rows.after({"key0": None, "new": 1}).get("new") == 1
    assert all(rows[f"key{number}"] == number for number in range(count))
