"""Ways in which the core could be wrong, each of which parity must notice.

A condition that answers the opposite is patched into its class. Other mistakes of the core, such
as a forgotten condition or an order turned round, are the right answer to another table: there
the table is changed that `resolve` sees, and the daemon keeps the one that was rendered.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest

from app.routing.conditions import AnyCondition, Clients
from app.routing.envelope import Envelope
from app.routing.next_hop import EntryHop
from app.routing.routing_table import RoutingTable
from app.routing.rule import MailFrom, Match, Reject, RelayAction, Rule
from app.routing.table import Table, look_up

CONDITIONS: tuple[type[AnyCondition], ...] = get_args(AnyCondition)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One mistake: in the core until the patch is undone, or in the table that it is asked about."""

    name: str
    of_core: Callable[[pytest.MonkeyPatch], None] | None = None
    of_table: Callable[[RoutingTable], RoutingTable] = lambda table: table

    def __str__(self) -> str:
        """Its name."""
        return self.name


def _inverted(condition: type[AnyCondition]) -> Mutation:
    holds: Callable[[Any, Envelope], bool] = condition.holds

    def opposite(self: AnyCondition, envelope: Envelope) -> bool:
        return not holds(self, envelope)

    return Mutation(
        f"{condition.name} inverted",
        of_core=lambda patch: patch.setattr(condition, "holds", opposite),
    )


def _rules(change: Callable[[Rule], Rule]) -> Callable[[RoutingTable], RoutingTable]:
    def changed(table: RoutingTable) -> RoutingTable:
        return replace(table, rules={name: change(rule) for name, rule in table.rules.items()})

    return changed


def _forgotten(condition: type[AnyCondition]) -> Mutation:
    def without(rule: Rule) -> Rule:
        kept = tuple(c for c in rule.match.all_of if not isinstance(c, condition))
        if condition is not Clients:
            # The default for absent clients hangs on what else is asked.
            kept = (rule.match.clients(), *(c for c in kept if not isinstance(c, Clients)))
        return replace(rule, match=Match(kept, rule.match.none_of))

    return Mutation(f"{condition.name} forgotten", of_table=_rules(without))


def _not_forgotten(condition: type[AnyCondition]) -> Mutation:
    def without(rule: Rule) -> Rule:
        kept = tuple(c for c in rule.match.none_of if not isinstance(c, condition))
        return replace(rule, match=Match(rule.match.all_of, kept))

    return Mutation(f"not {condition.name} forgotten", of_table=_rules(without))


def _turned_round(table: RoutingTable) -> RoutingTable:
    places = {rule.name: place for place, rule in enumerate(reversed(table.ordered))}
    return _rules(lambda rule: replace(rule, priority=places.get(rule.name, 0)))(table)


def _ordered_by_name(rule: Rule) -> Rule:
    return replace(rule, priority=0)


def _anyone_if_absent(rule: Rule) -> Rule:
    given = rule.match.positive("clients") or Clients(any=True)
    others = (c for c in rule.match.all_of if not isinstance(c, Clients))
    return replace(rule, match=Match((given, *others), rule.match.none_of))


def _not_rejecting(table: RoutingTable) -> RoutingTable:
    kept = {n: rule for n, rule in table.rules.items() if not isinstance(rule.action, Reject)}
    return replace(table, rules=kept)


def _sender_kept(rule: Rule) -> Rule:
    if not isinstance(rule.action, RelayAction):
        return rule
    return replace(rule, action=replace(rule.action, mail_from=None))


def _user_kept(rule: Rule) -> Rule:
    if not isinstance(rule.action, RelayAction) or rule.action.mail_from is None:
        return rule
    to = MailFrom(None, rule.action.mail_from.domain)
    return replace(rule, action=replace(rule.action, mail_from=to))


def _without_defaults(table: RoutingTable) -> RoutingTable:
    tables = {name: replace(value, default=None) for name, value in table.tables.items()}
    return replace(table, tables=tables)


def _least_specific_first(patch: pytest.MonkeyPatch) -> None:
    def shortest_key(
        table: Table, entries: Mapping[str, EntryHop], envelope: Envelope
    ) -> EntryHop | None:
        for key in sorted(entries, key=lambda key: (key.count("."), "@" in key)):
            found = look_up(replace(table, default=None), {key: entries[key]}, envelope)
            if found is not None:
                return found
        return table.default

    patch.setattr("app.routing.resolve.look_up", shortest_key)


MUTATIONS = (
    *(_inverted(condition) for condition in CONDITIONS),
    *(_forgotten(condition) for condition in CONDITIONS),
    *(_not_forgotten(condition) for condition in CONDITIONS),
    Mutation("rules tried last first", of_table=_turned_round),
    Mutation("rules tried by name alone", of_table=_rules(_ordered_by_name)),
    Mutation("disabled rules tried", of_table=_rules(lambda rule: replace(rule, enabled=True))),
    Mutation("rejecting rules passed over", of_table=_not_rejecting),
    Mutation("absent clients are any", of_table=_rules(_anyone_if_absent)),
    Mutation("mail_from ignored", of_table=_rules(_sender_kept)),
    Mutation("the user of mail_from ignored", of_table=_rules(_user_kept)),
    Mutation("a table's default ignored", of_table=_without_defaults),
    Mutation("a table's least specific key first", of_core=_least_specific_first),
    Mutation("relays out of service used", of_table=lambda table: replace(table, states={})),
)
