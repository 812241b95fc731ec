"""The rules of one routing in the order tried, and filed so that few are looked at for an envelope.

Each rule is filed under every pattern of one of its conditions: the one whose patterns it shares
with fewest other rules. What an envelope can meet is then found under the envelope's own keys; the
rules of each key are in order, so whoever has found one that matches leaves a bucket at the first
that comes later. Rules that ask nothing are in a bucket that every envelope meets.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from math import inf
from operator import attrgetter, itemgetter
from typing import cast

from app.routing.addresses import Addresses, behind
from app.routing.conditions import TEXT_CONDITIONS, AnyCondition, Clients, Recipients, Senders
from app.routing.envelope import Envelope
from app.routing.names import finder
from app.routing.next_hop import EntryHop, ViaTable
from app.routing.rule import Reject, Rule

Conditions = tuple[AnyCondition, ...]
Filed = tuple[int, Rule, EntryHop | None, str | None, bool, tuple[Conditions, Conditions] | None]
"""How many rules are tried before it, a rule, the next hop or the table that it names (neither
where it refuses), whether only mail of the host itself may take it, and what more must and must
not hold of whoever found it, if anything."""
_NO_RULE: Filed = (1 << 62, None, None, None, False, None)  # type: ignore[assignment]
"""Stands where no rule is: behind all others."""
_PLACE = itemgetter(0)
Bucket = tuple[Filed, ...]
"""Rules found under one key, in the order tried."""

_Network = tuple[int, int, int]
"""Version, how many bits of an address are not looked at, and the others."""
_Key = tuple[str, str | _Network]
"""The name of a condition, and what of it; both are "" of rules that ask nothing."""
_ANY: _Key = ("", "")
_LOCAL: _Key = (Clients.name, "local")
_ONLY_LOCAL = Clients(local=True)
"""What most rules ask, as they do without any word about clients."""


class RuleBook:
    """The rules of one routing: put in order, and filed, when that is first asked for.

    Attributes:
        rules: by name. Whoever made them changes them no more once a question was asked.
        index: the enabled ones, filed; 10,000 rules take some hundredths of a second once.
    """

    __slots__ = ("_ordered", "index", "rules")

    index: "RuleIndex"

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self.rules = rules
        self._ordered: tuple[Rule, ...] | None = None

    @property
    def ordered(self) -> tuple[Rule, ...]:
        """The enabled rules in the order in which they are tried."""
        ordered = self._ordered
        if ordered is None:
            enabled = (rule for rule in self.rules.values() if rule.enabled)
            ordered = self._ordered = tuple(sorted(enabled, key=lambda rule: rule.order))
        return ordered

    def __getattr__(self, name: str) -> "RuleIndex":
        """The index, which is not there yet: from then on it is found without this."""
        if name != "index":
            raise AttributeError(name)
        self.index = RuleIndex(self.ordered)
        return self.index

    def prepare(self) -> None:
        """Have both ready, so that no question waits for them."""
        _ = self.index


class RuleIndex:
    """Finds, by the keys of an envelope, the rules that may match it."""

    __slots__ = ("_by_address", "_finders", "_head", "_heads", "_local", "_rest")

    def __init__(self, ordered: Iterable[Rule]) -> None:
        """File rules that are given in the order in which they are tried."""
        filed = _filed(tuple(ordered))
        self._rest = filed.pop(_ANY, ())
        self._local = filed.pop(_LOCAL, ())
        texts: dict[str, dict[str, Bucket]] = {name: {} for name in TEXT_CONDITIONS}
        networks: dict[_Network, Bucket] = {}
        for (name, what), bucket in filed.items():
            if isinstance(what, str):
                texts[name][what] = bucket
            else:
                networks[what] = bucket
        finders = [_finder(name, buckets) for name, buckets in texts.items() if buckets]
        self._finders = (*finders, _around(networks)) if networks else tuple(finders)
        self._by_address = (texts[Senders.name], texts[Recipients.name])
        self._heads: tuple[_Heads, ...] = ()
        met_by_all = (bucket[0] for bucket in (self._local, self._rest) if bucket)
        self._head = min(met_by_all, key=_PLACE, default=_NO_RULE)

    def met_by(self, envelope: Envelope) -> list[Bucket]:
        """The buckets in which every rule that matches an envelope is; the fullest mostly last."""
        found: list[Bucket] = []
        for find in self._finders:
            find(envelope, found)
        if self._local and (envelope.client is None or envelope.is_local):
            found.append(self._local)
        if self._rest:
            found.append(self._rest)
        return found

    def heads(self, senders: Addresses, recipients: Addresses) -> list[Filed]:
        """Of each of many envelopes the first rule that is in any bucket that it meets.

        They are of a sender and a recipient alone, from the host itself. Where such a rule asks for
        nothing more, none is tried before it that would match. Where there is none, all of it is
        empty.
        """
        if not self._heads:  # not everybody who files rules asks this
            self._heads = tuple(map(_Heads, self._by_address))
        found, least = [self._head] * len(recipients), self._head[0]
        for heads, addresses in zip(self._heads, (senders, recipients), strict=True):
            for column in heads.columns(addresses):
                # All in one call, in which a processor waits for the memory of several at once.
                places = list(map(_PLACE, filter(None, column)))
                if not places:
                    continue
                both = zip(found, column, strict=True)
                if max(places) < least:
                    found = [other or one for one, other in both]
                else:
                    found = [
                        one if other is None or one[0] < other[0] else other for one, other in both
                    ]
                least = min(least, *places)
        return found


class _Heads:
    """The first rule in each bucket that is found by a mail address."""

    __slots__ = ("_addresses", "_domains", "_least", "_wild")

    def __init__(self, buckets: Mapping[str, Bucket]) -> None:
        self._addresses, self._domains, self._wild = _rows(), _rows(), _rows()
        for text, bucket in buckets.items():
            if text[:2] == "*.":
                self._wild[text[2:]] = bucket[0]
            elif "@" in text or text == "<>":
                self._addresses[text] = bucket[0]
            else:
                self._domains[text] = bucket[0]
        self._least = min((parent.count(".") for parent in self._wild), default=0)

    def columns(self, addresses: Addresses) -> Iterator[list[Filed | None]]:
        """What each of many addresses finds under one of its keys; together, under all of them."""
        if self._addresses:
            yield list(map(self._addresses.get, [text or "<>" for text in addresses.folded()]))
        if self._domains:
            yield list(map(self._domains.get, addresses.domains))
        if self._wild:
            parents: Sequence[str] = addresses.domains
            most = max(map(str.count, parents, repeat(".")))
            for _ in range(self._least, most):
                parents = behind(".", parents)
                yield list(map(self._wild.get, parents))


def _rows() -> dict[str, Filed]:
    """An empty dict that will keep the hashes of its keys beside them.

    One that has only ever had texts for keys does not: whatever key stands where another one is
    looked for is fetched from memory to be told from it. Where most is not found, that is most of
    the time that a look-up takes.
    """
    rows: dict[object, Filed] = {None: _NO_RULE}
    del rows[None]
    return cast(dict[str, Filed], rows)


_Finder = Callable[[Envelope, list[Bucket]], None]
"""Adds the buckets that an envelope meets by one of its parts."""

_DOMAINS: Mapping[str, Callable[[Envelope], str]] = {
    Senders.name: attrgetter("sender.domain"),
    Recipients.name: attrgetter("recipient.domain"),
}


def _finder(name: str, buckets: Mapping[str, Bucket]) -> _Finder:
    if name in _DOMAINS and not any("@" in text or text == "<>" for text in buckets):
        return finder(buckets, _DOMAINS[name])  # no pattern is of more than the domain
    keys_of = TEXT_CONDITIONS[name].keys_of

    def find(envelope: Envelope, found: list[Bucket]) -> None:
        found += [buckets[key] for key in keys_of(envelope) if key in buckets]

    return find


def _around(networks: Mapping[_Network, Bucket]) -> _Finder:
    lengths = frozenset((version, shift) for version, shift, _ in networks)

    def find(envelope: Envelope, found: list[Bucket]) -> None:
        client = envelope.client
        if client is not None:
            address, own = int(client), client.version
            of_own = ((own, shift, address >> shift) for kind, shift in lengths if kind == own)
            found += [networks[key] for key in of_own if key in networks]

    return find


def _filed(rules: tuple[Rule, ...]) -> dict[_Key, Bucket]:
    """The buckets by their keys."""
    crowds: Counter[_Key] = Counter()
    for rule in rules:
        for condition in rule.match.required:
            crowds.update(_keys(condition))
    buckets: defaultdict[_Key, list[Filed]] = defaultdict(list)
    for place, rule in enumerate(rules):
        keys, others = _most_selective(rule, crowds)
        via = None if isinstance(rule.action, Reject) else rule.action.via
        to, asked = (None, via.name) if isinstance(via, ViaTable) else (via, None)
        is_local = _ONLY_LOCAL in others
        others = tuple(c for c in others if c != _ONLY_LOCAL)
        more = (others, rule.match.none_of) if others or rule.match.none_of else None
        filed = (place, rule, to, asked, is_local, more)
        for key in keys:
            buckets[key].append(filed)
    return {key: tuple(bucket) for key, bucket in buckets.items()}


def _most_selective(
    rule: Rule, crowds: Counter[_Key]
) -> tuple[Iterable[_Key], tuple[AnyCondition, ...]]:
    """The keys of the condition whose fullest bucket is the least full, and the other ones."""
    best: Iterable[_Key] = (_ANY,)
    chosen: AnyCondition | None = None
    least = (inf, 0)
    asked = rule.match.required
    for condition in reversed(asked):
        keys = _keys(condition)
        crowd = (max(map(crowds.__getitem__, keys), default=0), len(keys))
        if keys and crowd < least:
            best, chosen, least = keys, condition, crowd
    return best, tuple(c for c in asked if c is not chosen and not takes_all(c))


def _keys(condition: AnyCondition) -> list[_Key]:
    """One for each pattern; none where every envelope meets the condition."""
    if not isinstance(condition, Clients):
        return [(condition.name, text) for text in condition.index]
    if takes_all(condition):
        return []
    keys: list[_Key] = [_LOCAL] if condition.local else []
    for network in set(condition.networks):
        shift = network.max_prefixlen - network.prefixlen
        bits = int(network.network_address) >> shift
        keys.append((condition.name, (network.version, shift, bits)))
    return keys


def takes_all(condition: AnyCondition) -> bool:
    """Whether every envelope meets a condition, in that word."""
    return isinstance(condition, Clients) and condition.any
