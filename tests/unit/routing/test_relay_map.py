"""Relays of a map have names that last, meanings that differ, and weights that make a round."""

from typing import Any

import pytest

from app.routing.document import read_relay_map
from app.routing.errors import Invalid
from app.routing.relay_map import RelayMap


def read(relays: list[dict[str, Any]], present: RelayMap | None = None, **more: Any) -> RelayMap:
    return read_relay_map({"name": "m", "relays": relays, **more}, present)


def urls(*texts: str) -> list[dict[str, Any]]:
    return [{"url": text} for text in texts]


def names(found: RelayMap) -> list[str]:
    return [relay.name for relay in found.relays]


def fault(relays: list[dict[str, Any]], **more: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as invalid:
        read(relays, **more)
    return [(fault.code, fault.pointer) for fault in invalid.value.faults]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["smtp://mx1.example"], ["mx1.example"]),
        (["smtps://MX1.example:465", "smtp://mx2.example"], ["mx1.example", "mx2.example"]),
        (["smtp://mx.example", "tls://mx.example:587"], ["mx.example-25", "mx.example-587"]),
        (["smtp://192.0.2.1", "bücher.example"], ["192.0.2.1", "xn--bcher-kva.example"]),
    ],
)
def test_a_relay_without_a_name_is_called_after_its_host(
    given: list[str], expected: list[str]
) -> None:
    assert names(read(urls(*given))) == expected


def test_a_host_that_makes_no_name_needs_one() -> None:
    long_host = "a" * 40 + "." + "b" * 40
    relays = urls("smtp://a", "smtp://[2001:db8::1]", f"smtp://{long_host}")
    assert fault(relays) == [("name-needed", "/relays/1/name"), ("name-needed", "/relays/2/name")]
    assert names(read([{"name": "six", "url": "smtp://[2001:db8::1]"}])) == ["six"]


def test_a_name_never_changes_by_itself() -> None:
    """A second port of the same host would otherwise rename the first, and lose its state."""
    present = read(urls("smtp://mx.example"))
    again = read(urls("smtp://mx.example", "smtp://mx.example:2525"), present)
    assert names(again) == ["mx.example", "mx.example-2525"]
    respelt = read(urls("SMTP://MX.example:25"), present)
    assert names(respelt) == ["mx.example"]


def test_a_name_that_is_given_goes_before_one_that_is_kept() -> None:
    present = read([{"name": "first", "url": "smtp://a"}, {"name": "second", "url": "smtp://b"}])
    moved = read([{"name": "first", "url": "smtp://b"}, {"url": "smtp://a"}], present)
    assert names(moved) == ["first", "a"]


def test_two_relays_of_one_meaning_are_one_too_many() -> None:
    relays = [{"name": "x", "url": "smtp://a"}, {"name": "y", "url": "A:25"}]
    assert fault(relays) == [("duplicate-relay", "/relays/1/url")]


def test_two_relays_of_one_name_are_one_too_many() -> None:
    relays = [{"name": "x", "url": "smtp://a"}, {"name": "X", "url": "smtp://b"}]
    assert fault(relays) == [("duplicate-name", "/relays/1/name")]


@pytest.mark.parametrize("count", [0, 1001])
def test_a_map_has_1_to_1000_relays(count: int) -> None:
    assert fault(urls(*(f"smtp://h{n}.example" for n in range(count)))) == [("bad-size", "/relays")]


def test_a_map_of_1000_relays_is_taken() -> None:
    assert len(read(urls(*(f"smtp://h{n}.example" for n in range(1000)))).relays) == 1000


@pytest.mark.parametrize(
    ("member", "value"),
    [("weight", 0), ("weight", 1001), ("priority", -1), ("priority", 101)],
)
def test_weights_and_priorities_have_bounds(member: str, value: int) -> None:
    assert fault([{"url": "smtp://a", member: value}]) == [("out-of-range", f"/relays/0/{member}")]


def test_the_round_of_a_priority_has_at_most_10000_turns() -> None:
    hosts = [f"smtp://h{n}.example" for n in range(12)]
    fine = [{"url": url, "weight": 999} for url in hosts]
    assert len(read(fine).relays) == 12
    odd = [*fine[:11], {"url": hosts[11], "weight": 998}]
    assert fault(odd) == [("weights-too-fine", "/relays")]
    parted = [*fine[:11], {"url": hosts[11], "weight": 998, "priority": 1}]
    assert len(read(parted).relays) == 12


@pytest.mark.parametrize(
    ("policy", "key"),
    [("hash", None), ("random", "sender"), ("ratio", "recipient"), ("failover", "sender-domain")],
)
def test_a_hash_key_is_given_with_policy_hash_and_only_then(policy: str, key: str | None) -> None:
    given = urls("smtp://a")
    assert fault(given, policy=policy, hash_key=key) == [("hash-key", "/hash_key")]


def test_a_map_is_round_robin_unless_it_says_otherwise() -> None:
    assert read(urls("smtp://a")).policy.value == "round-robin"
