"""The lines of a routing for smtpd: a `match` line a rule, its lists, its actions."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

from app.render.opensmtpd import spelling
from app.render.opensmtpd.actions import (
    ActionLine,
    hop_digest,
    reject_line,
    relay_line,
)
from app.render.opensmtpd.criteria import (
    KEYED,
    RECIPIENTS,
    SENDERS,
    USERS,
    Alternatives,
    CannotSay,
    Conjunction,
    Criterion,
    KeySet,
    Slot,
    client_alternatives,
    key_set,
    keyed_alternatives,
    tag_alternatives,
)
from app.render.opensmtpd.limits import MAX_REGEX_LINES
from app.render.opensmtpd.spelling import Unwritable
from app.render.opensmtpd.tails import Tail, TailSet, mail_tail, user_tail
from app.routing.errors import Refused
from app.routing.names import IPAddress
from app.routing.next_hop import EntryHop, ViaTable
from app.routing.patterns import parse_recipient_pattern
from app.routing.routing_table import RoutingTable
from app.routing.rule import Reject, RelayAction, Rule
from app.routing.table import TableKey, parse_key

KEY_KINDS = {
    TableKey.RECIPIENT_DOMAIN: RECIPIENTS,
    TableKey.RECIPIENT: RECIPIENTS,
    TableKey.SENDER_DOMAIN: SENDERS,
    TableKey.SENDER: SENDERS,
    TableKey.AUTH_USER: USERS,
}
"""The condition that asks about what a table is keyed by."""

Level = tuple[int, str]
"""How specific keys are: a number in the order of look-up, and a word for file names."""

_ANYWHERE = Criterion(Slot.FOR, "for any")


@dataclass(frozen=True, slots=True)
class MatchLine:
    """Criteria that must all hold, and the action for mail that meets them."""

    criteria: Conjunction
    action: str

    def __str__(self) -> str:
        """As it stands in relaymap.conf; `from` and `for` are always said."""
        slots = {criterion.slot for criterion in self.criteria}
        said = self.criteria if Slot.FOR in slots else (*self.criteria, _ANYWHERE)
        ordered = sorted(said, key=lambda criterion: criterion.slot.value)
        words = " ".join(str(criterion) for criterion in ordered)
        return f"match {words} action {spelling.action_name(self.action)}"


@dataclass(slots=True)
class RuleLines:
    """What one rule becomes; without match lines it can never match on this MTA."""

    actions: list[ActionLine] = field(default_factory=list)
    matches: list[MatchLine] = field(default_factory=list)


def rule_lines(table: RoutingTable, rule: Rule, own: Iterable[IPAddress]) -> RuleLines:
    """The lines of one rule.

    Args:
        table: the routing that the rule is of.
        rule: an enabled rule of it.
        own: addresses of the MTA's host.

    Raises:
        CannotSay: a condition is too long for the daemon.
        Unwritable: a text in it is none that our parsers let through.
    """
    rule_id = spelling.rule_id(rule.id)
    keys = {kind.name: key_set(rule.match, kind) for kind in KEYED}
    conditions: dict[str, Alternatives] = {
        "tags": tag_alternatives(rule.match, rule_id),
        "clients": client_alternatives(rule.match, own, rule_id),
    }
    for kind in KEYED:
        conditions[kind.name] = keyed_alternatives(kind, keys[kind.name], f"{rule_id}-{kind.name}")
    lines = RuleLines()
    if isinstance(rule.action, RelayAction) and isinstance(rule.action.via, ViaTable):
        over = _Over(table, rule, rule.action, rule.action.via.name)
        over.write(lines, conditions, keys[KEY_KINDS[table.tables[over.name].key].name])
    else:
        _add(lines, conditions, _only_action(table, rule))
    return lines


def _only_action(table: RoutingTable, rule: Rule) -> ActionLine:
    """The action of a rule with one next hop, or none."""
    if isinstance(rule.action, Reject):
        return reject_line(rule, rule.action)
    if isinstance(rule.action.via, ViaTable):
        raise TypeError(rule.action.via)
    return relay_line(table, rule, rule.action, rule.action.via, over_table=False)


def _add(lines: RuleLines, conditions: dict[str, Alternatives], action: ActionLine) -> None:
    for parts in product(*conditions.values()):
        criteria = tuple(criterion for part in parts for criterion in part)
        lines.matches.append(MatchLine(criteria, action.name))
        if action not in lines.actions:
            lines.actions.append(action)


@dataclass(frozen=True, slots=True)
class _Over:
    """A rule over a table: one line a level of keys and a next hop, most specific first."""

    table: RoutingTable
    rule: Rule
    action: RelayAction
    name: str

    def write(self, lines: RuleLines, conditions: dict[str, Alternatives], asked: KeySet) -> None:
        """Add the lines.

        Args:
            lines: where to.
            conditions: those of the rule; the one that asks about the key is said anew per line.
            asked: the keys that the rule's own condition of that kind leaves.
        """
        found = self.table.tables[self.name]
        kind = KEY_KINDS[found.key]
        regex_lines = 0
        for (_, level), hops in sorted(self._levels(found.key).items()):
            for digest in sorted(hops):
                hop, tails = hops[digest]
                wanted = (
                    TailSet(tails) if asked.wanted is None else TailSet(tails).meet(asked.wanted)
                )
                file = f"{self.rule.id}-{level}-{digest}"
                said = keyed_alternatives(kind, KeySet(wanted, asked.unwanted), file)
                regex_lines += sum(
                    len(c.lines) for part in said for c in part if c.words == kind.regex
                )
                self._add(lines, conditions | {kind.name: said}, hop)
        if regex_lines > MAX_REGEX_LINES:
            raise CannotSay(
                "table-size",
                f"table {self.name} needs {regex_lines} regular expressions here, and more than"
                f" {MAX_REGEX_LINES} slow every recipient down; keys that are plain domains need"
                " none",
            )
        if found.default is not None:
            self._add(lines, conditions, found.default)

    def _add(self, lines: RuleLines, conditions: dict[str, Alternatives], hop: EntryHop) -> None:
        action = relay_line(self.table, self.rule, self.action, hop, over_table=True)
        _add(lines, conditions, action)

    def _levels(
        self, key: TableKey
    ) -> "dict[tuple[int, str], dict[str, tuple[EntryHop, list[Tail]]]]":
        levels: dict[tuple[int, str], dict[str, tuple[EntryHop, list[Tail]]]] = {}
        for text, hop in self.table.entries.get(self.name, {}).items():
            level, tail = _level(key, text)
            hops = levels.setdefault(level, {})
            hops.setdefault(hop_digest(hop), (hop, []))[1].append(tail)
        return levels


def _level(key: TableKey, text: str) -> tuple[Level, Tail]:
    """How specific a key of a table is, and what it means."""
    try:
        canonical = parse_key(key, text) == text
    except Refused:
        canonical = False
    if not canonical:
        raise Unwritable("key of a table")
    if key is TableKey.AUTH_USER:
        return (0, "user"), user_tail(text)
    tail = mail_tail(parse_recipient_pattern(text))
    if tail.whole:
        return (0, "address"), tail
    if tail.text[0] == "@":
        return (1, "domain"), tail
    labels = tail.text.count(".")
    return (1000 - labels, f"below{labels}"), tail
