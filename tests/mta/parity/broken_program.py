"""Ways in which the table program could be wrong; each breaks the one that is installed.

It is copied beside the program inside, and one function of it is called before the program runs.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from app.routing import decision, resolve, table
from app.routing.envelope import Envelope
from app.routing.next_hop import EntryHop
from app.routing.table import Entries, Table
from app.table_program import answers, live


def _break(where: object, name: str, wrong: Callable[..., object]) -> None:
    setattr(where, name, wrong)


def ignores_not() -> None:
    """No negation is ever looked at."""

    is_met = resolve._is_met
    _break(resolve, "_is_met", lambda envelope, others, _: is_met(envelope, others, ()))


def names_the_next_action() -> None:
    """The walk says yes one action late."""
    decide = answers.Walk._decide

    def late(self: answers.Walk, view: live.View, recipient: str) -> int | None:
        number = decide(self, view, recipient)
        return None if number is None else number + 1

    _break(answers.Walk, "_decide", late)


def swaps_slots() -> None:
    """Mail that was hashed when it came in is queued for the relay of another slot."""
    decide = decision.decide

    def swapped(
        routing: Any, slots: decision.Slots, envelope: Envelope, down: Any
    ) -> decision.Fixed | None:
        turned = {
            name: dict(zip(each, reversed(tuple(each.values())), strict=True))
            for name, each in slots.items()
        }
        return decide(routing, turned, envelope, down)

    _break(answers, "decide", swapped)


def least_specific_first() -> None:
    """Tables are looked up from the last key to the first."""
    look_up_keys = table.look_up_keys

    def reversed_keys(of: Table, entries: Entries, keys: Iterable[str]) -> EntryHop | None:
        return look_up_keys(of, entries, reversed(tuple(keys)))

    _break(table, "look_up_keys", reversed_keys)


def ignores_down() -> None:
    """What health says is not read."""
    _break(live, "read_down", lambda _row: frozenset())


def ignores_out() -> None:
    """Relays out of service are used."""

    def usable(routing: Any, relay_map: Any, down: Any) -> Any:
        found = tuple(r for r in relay_map.relays if (relay_map.name, r.name) not in down)
        return found or relay_map.relays

    _break(decision, "usable_relays", usable)
    _break(resolve, "usable_relays", usable)


def ignores_defaults() -> None:
    """A table without the key leads nowhere."""
    look_up_keys = table.look_up_keys

    def without(of: Table, entries: Mapping[str, EntryHop], keys: Iterable[str]) -> Any:
        return look_up_keys(replace(of, default=None), entries, keys)

    _break(table, "look_up_keys", without)


BREAKS = (
    ignores_not,
    names_the_next_action,
    swaps_slots,
    least_specific_first,
    ignores_down,
    ignores_out,
    ignores_defaults,
)
