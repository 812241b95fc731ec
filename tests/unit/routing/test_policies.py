"""Policies pick in the order that their rows say, and keep the laws that their names promise."""

from collections import Counter
from fractions import Fraction
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing.policies import POLICIES, Ranked, rank, smooth_turns
from app.routing.relay_map import HashKey, Policy, Relay, RelayMap
from app.routing.relay_url import parse_relay_url
from app.routing.resolve import usable_relays
from app.routing.route import Draw
from app.routing.routing_table import RoutingTable
from tests.unit.routing import strategies
from tests.unit.routing.making import routing
from tests.vectors.rows import Row, ids, rows

ROWS = rows("policies")
HASH_ROWS = rows("hash")

# Upper critical values of chi-square at p = 0.001 for 1, 2, 3, ... degrees of freedom.
CHI_SQUARE = (10.828, 13.816, 16.266, 18.467, 20.515, 22.458, 24.322, 26.124, 27.877)


def relay(text: str) -> Relay:
    name, _, rest = text.partition(":")
    weight, _, priority = rest.partition("@")
    return Relay(name, parse_relay_url(f"smtp://{name}"), int(weight), int(priority or 0))


def relay_map(policy: str, relays: str) -> RelayMap:
    key = HashKey.RECIPIENT if policy == "hash" else None
    return RelayMap("m", Policy(policy), tuple(map(relay, relays.split())), key)


def pool(*weights: int) -> list[Relay]:
    return [relay(f"{chr(ord('a') + n)}:{weight}") for n, weight in enumerate(weights)]


def table_of(row: Row) -> tuple[RoutingTable, RelayMap, frozenset[tuple[str, str]]]:
    relays = [
        {"name": r.name, "url": str(r.url), "weight": r.weight, "priority": r.priority}
        for r in relay_map(row["policy"], row["relays"]).relays
    ]
    made = routing(
        {
            "maps": {"m": {"policy": row["policy"], "relays": relays}},
            "out": [f"m/{name}" for name in row["out"].split()],
        }
    )
    return made, made.maps["m"], frozenset(("m", name) for name in row["down"].split())


def draws_of(row: Row) -> list[Draw]:
    chances = row["chance"].split() or ["0"] * len(row["picked"].split())
    return [Draw(turn, float(chance)) for turn, chance in enumerate(chances)]


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_a_policy_picks_what_its_row_says(row: Row) -> None:
    table, found, down = table_of(row)
    usable = usable_relays(table, found, down)
    ranked = [rank(found, usable, draw) for draw in draws_of(row)]
    assert [order[0].relay.name if order else "-" for order in ranked] == row["picked"].split()
    assert [each.relay.name for each in ranked[0]] == row["order"].split()
    shares = {each.relay.name: each.share for each in ranked[0]}
    expected = [float(Fraction(share)) for share in row["shares"].split()]
    assert [shares.get(each.name, 0.0) for each in found.relays] == pytest.approx(expected)


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_the_order_hangs_on_who_is_first_in_each_group(row: Row) -> None:
    table, found, _ = table_of(row)
    active = table.active_relays(found)
    of_places: dict[tuple[int, ...], list[Ranked]] = {}
    for draw in (Draw(turn, turn / 97) for turn in range(97)):
        order = rank(found, active, draw)
        places = tuple(prepared.place(draw) for prepared in active.prepared)
        assert of_places.setdefault(places, order) == order


@pytest.mark.parametrize("row", HASH_ROWS, ids=ids(HASH_ROWS))
def test_a_key_belongs_to_the_same_relay_for_ever(row: Row) -> None:
    found = relay_map("hash", row["relays"])
    order = rank(found, found.relays, Draw(key=row["key"]))
    assert [each.relay.name for each in order] == row["order"].split()


@given(strategies.relay_maps, strategies.draws)
def test_every_usable_relay_is_a_candidate_once_and_shares_add_up(
    found: RelayMap, draw: Draw
) -> None:
    ranked = rank(found, found.relays, draw)
    assert sorted(each.relay.name for each in ranked) == sorted(r.name for r in found.relays)
    priorities = [each.relay.priority for each in ranked]
    assert priorities == sorted(priorities)
    assert sum(each.share for each in ranked) == pytest.approx(1)
    assert all(not each.share for each in ranked if each.relay.priority > priorities[0])
    assert ranked[0].share > 0


@given(strategies.relay_maps, strategies.draws)
def test_the_same_draw_gives_the_same_order(found: RelayMap, draw: Draw) -> None:
    assert rank(found, found.relays, draw) == rank(found, found.relays, draw)


@given(st.integers(1, 12), st.integers(0, 10**6), st.integers(1, 5))
def test_round_robin_picks_each_exactly_k_times_over_k_rounds(
    count: int, start: int, rounds: int
) -> None:
    relays = pool(*[1] * count)
    turns = range(start, start + rounds * count)
    picked = Counter(first(Policy.ROUND_ROBIN, relays, Draw(turn)) for turn in turns)
    assert set(picked.values()) == {rounds}
    assert len(picked) == count


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 10**6))
def test_ratio_counts_equal_the_weights_over_any_sum_of_weights_turns(
    weights: list[int], start: int
) -> None:
    relays = pool(*weights)
    turns = range(start, start + sum(weights))
    picked = Counter(first(Policy.RATIO, relays, Draw(turn)) for turn in turns)
    assert picked == {r.name: r.weight for r in relays}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_ratio_takes_turns_as_the_published_rule_does(weights: list[int]) -> None:
    """Add to each its weight, pick the greatest, the first of equals, take the sum from it."""
    current = [0] * len(weights)
    for turn in islice(smooth_turns(tuple(weights)), sum(weights)):
        current = [have + weight for have, weight in zip(current, weights, strict=True)]
        assert turn == current.index(max(current))
        current[turn] -= sum(weights)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_random_picks_each_with_equal_chance(count: int) -> None:
    chance = Random(20121117)
    relays = pool(*range(1, count + 1))
    picked = Counter(first(Policy.RANDOM, relays, Draw(0, chance.random())) for _ in range(10_000))
    assert chi_square(picked, {r.name: 1 / count for r in relays}) < CHI_SQUARE[count - 2]


@pytest.mark.parametrize("weights", [(1, 1), (1, 1, 1), (5, 1, 1), (1, 2, 3, 4), (1000, 10)])
def test_hash_gives_each_relay_keys_in_proportion_to_its_weight(weights: tuple[int, ...]) -> None:
    relays = pool(*weights)
    picked = Counter(first(Policy.HASH, relays, Draw(key=f"key {n}")) for n in range(10_000))
    expected = {r.name: r.weight / sum(weights) for r in relays}
    assert chi_square(picked, expected) < CHI_SQUARE[len(weights) - 2]


@given(
    st.lists(st.integers(1, 20), min_size=2, max_size=7),
    st.data(),
    st.lists(st.text(max_size=8), min_size=1, max_size=50),
)
def test_losing_a_relay_moves_only_its_own_keys_to_the_next_candidate(
    weights: list[int], data: st.DataObject, keys: list[str]
) -> None:
    relays = pool(*weights)
    lost = data.draw(st.sampled_from(relays))
    left = [r for r in relays if r is not lost]
    for key in keys:
        before = order(Policy.HASH, relays, Draw(key=key))
        after = order(Policy.HASH, left, Draw(key=key))
        assert after == [name for name in before if name != lost.name]


@given(
    st.lists(st.integers(1, 20), min_size=2, max_size=7),
    st.data(),
    st.lists(st.text(max_size=8), min_size=1, max_size=50),
)
def test_a_changed_weight_moves_keys_only_to_or_from_that_relay(
    weights: list[int], data: st.DataObject, keys: list[str]
) -> None:
    place = data.draw(st.integers(0, len(weights) - 1))
    grown = data.draw(st.integers(1, 40))
    relays, changed = pool(*weights), pool(*weights[:place], grown, *weights[place + 1 :])
    name = relays[place].name
    for key in keys:
        before = first(Policy.HASH, relays, Draw(key=key))
        after = first(Policy.HASH, changed, Draw(key=key))
        if before != after:
            assert name == (after if grown > weights[place] else before)


@given(strategies.relay_maps, strategies.draws, st.integers(0, 2**32))
def test_hash_does_not_care_for_the_order_of_the_map(
    found: RelayMap, draw: Draw, seed: int
) -> None:
    shuffled = list(found.relays)
    Random(seed).shuffle(shuffled)
    assert order(Policy.HASH, shuffled, draw) == order(Policy.HASH, list(found.relays), draw)


def test_the_greatest_round_is_prepared_from_few_weights() -> None:
    """A map's longest round, and the most different weights that fit in one."""
    assert len(smooth_turns((10,) * 999 + (9,))) == 9_999
    weights = tuple(range(1, 141))
    assert Counter(smooth_turns(weights)) == dict(enumerate(weights))


def order(policy: Policy, relays: list[Relay], draw: Draw) -> list[str]:
    return [each.relay.name for each in POLICIES[policy](relays).rank(draw)]


def first(policy: Policy, relays: list[Relay], draw: Draw) -> str:
    prepared = POLICIES[policy](relays)
    ranked = prepared.rank(draw)
    assert ranked[0].relay is relays[prepared.place(draw)], "a pick is the first of the order"
    return ranked[0].relay.name


def chi_square(seen: Counter[str], expected: dict[str, float]) -> float:
    total = seen.total()
    return sum((seen[name] - total * part) ** 2 / (total * part) for name, part in expected.items())
