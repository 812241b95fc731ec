"""Many envelopes of a sender and a recipient alone: which rule takes each, and where it leads.

The same as `resolve.walk` says of one, found column by column, at a part of the cost. What a
column cannot say of an envelope is asked for that one alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.routing.addresses import Addresses, ordinary_addresses
from app.routing.envelope import Envelope, parse_mail_address
from app.routing.next_hop import EntryHop
from app.routing.resolve import Walked, walk
from app.routing.routing_table import RoutingTable
from app.routing.rule import Rule
from app.routing.table import TableKey, look_up_domain


@dataclass(frozen=True, slots=True)
class Pairs:
    """The n-th envelope is of the n-th sender and the n-th recipient, from the host itself."""

    senders: Addresses
    recipients: Addresses

    @classmethod
    def of(cls, senders: Sequence[str], recipients: Sequence[str]) -> "Pairs | None":
        """As many senders and recipients; None where one of them is not of the ordinary form."""
        if "" in recipients:
            return None
        both, count = ordinary_addresses([*senders, *recipients]), len(senders)
        if both is None:
            return None
        return cls(both.part(0, count), both.part(count, 2 * count))

    def __len__(self) -> int:
        """How many they are."""
        return len(self.recipients)

    def part(self, start: int, end: int) -> "Pairs":
        """Some of them, as of a slice."""
        if start == 0 and end >= len(self):
            return self
        return Pairs(self.senders.part(start, end), self.recipients.part(start, end))

    def envelope(self, number: int) -> Envelope:
        """One of them."""
        sender, recipient = self.senders.spelling(number), self.recipients.spelling(number)
        return Envelope(parse_mail_address(sender), parse_mail_address(recipient))

    def domains(self, key: TableKey) -> Sequence[str] | None:
        """What a table by domains is asked first for each; None of other tables."""
        if key is TableKey.RECIPIENT_DOMAIN:
            return self.recipients.domains
        return self.senders.domains if key is TableKey.SENDER_DOMAIN else None


@dataclass(frozen=True, slots=True)
class Led:
    """What `walk` says of each of many envelopes, in columns.

    Attributes:
        rules: that decide; None where none does.
        hops: where they lead; None where they refuse, or there is no rule.
        alone: those of which columns cannot say it; `walk_alone` does.
    """

    table: RoutingTable
    pairs: Pairs
    rules: list[Rule | None]
    hops: list[EntryHop | None]
    alone: list[int]

    def walk_alone(self, number: int) -> None:
        """Note what `walk` says of one."""
        walked = walk(self.table, self.pairs.envelope(number))
        self.rules[number], self.hops[number] = walked or (None, None)

    def walked(self, number: int) -> Walked | None:
        """What is known of one, as `walk` says it."""
        rule = self.rules[number]
        return None if rule is None else (rule, self.hops[number])


def walk_pairs(table: RoutingTable, pairs: Pairs) -> Led:
    """What `walk` says of each, at least one, but for those that have to be walked `alone`.

    To walk one alone takes many times what it takes in a column: who serves others as well lets
    them in between.
    """
    heads = table.index.heads(pairs.senders, pairs.recipients)
    _, rules, hops, asked, _, more = map(list, zip(*heads, strict=True))
    alone = [number for number, conditions in enumerate(more) if conditions]
    for name in {*asked} - {None}:
        numbers = [n for n, each in enumerate(asked) if each == name and not more[n]]
        alone += _look_up(table, name, pairs, numbers, hops)
    return Led(table, pairs, rules, hops, sorted(alone))


def _look_up(
    table: RoutingTable, name: str, pairs: Pairs, numbers: list[int], hops: list[EntryHop | None]
) -> list[int]:
    """Note in `hops` where a table leads; the numbers of those for which it may have nothing."""
    asked, entries = table.tables[name], table.entries_of(name)
    domains = pairs.domains(asked.key)
    if domains is None:
        return numbers
    found = entries.get_all([domains[number] for number in numbers])
    for number, hop in zip(numbers, found, strict=True):
        hops[number] = hop
    missed = [number for number in numbers if hops[number] is None]
    for number in missed:
        hops[number] = look_up_domain(asked, entries, domains[number])
    return [number for number in missed if hops[number] is None]
