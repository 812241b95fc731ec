"""What a routing asks of an MTA, in a normal form that rendered files can be reduced to as well.

Two routings that treat every envelope alike, under the same names of actions, have one meaning.
What arithmetic may lose (a negated pattern that takes nothing away, the order of patterns, the
name and the number of a rule's priority) is not in it: the MTA does not know it either.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.render.opensmtpd.key_map import Join, KeyMap, Normal, values
from app.routing.envelope import LOOPBACK
from app.routing.names import IPAddress
from app.routing.relay_url import TLS, Protocol
from app.routing.rule import MailFrom


@dataclass(frozen=True, slots=True)
class Reached:
    """One relay as mail reaches it.

    Attributes:
        verify: whether its certificate is checked; None where TLS is not mandatory.
        ca: by which CA; None: by those that the MTA's host trusts.
    """

    protocol: Protocol
    tls: TLS
    host: str
    port: int
    label: str | None
    verify: bool | None
    ca: str | None


@dataclass(frozen=True, slots=True)
class Handed:
    """Mail is queued under an action and handed on.

    Attributes:
        action: the name that the queue keeps.
        turn: what the turn among the relays belongs to, a map; "" for a single relay and for MX.
        relays: that get the mail; None: the recipient's mail exchangers.
    """

    action: str
    turn: str
    relays: frozenset[Reached] | None
    certificate: str | None
    sources: tuple[IPAddress, ...]
    helo: str | None
    mail_from: MailFrom | None
    ttl_s: int | None


@dataclass(frozen=True, slots=True)
class Refused550:
    """The recipient is refused with 550 5.7.1 and a message."""

    message: str


Outcome = Handed | Refused550
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class ClientSet:
    """Who may connect: the control socket, and ranges of addresses, merged and in order."""

    socket: bool
    v4: Ranges
    v6: Ranges


@dataclass(frozen=True, slots=True)
class TagSet:
    """The tags that are wanted; with `others`, all but these."""

    tags: frozenset[str]
    others: bool


@dataclass(frozen=True, slots=True)
class RuleMeaning:
    """Which envelopes a rule takes, and where they go.

    Attributes:
        keys: by condition, a function from keys to True or None; where a table decides, one of
            them gives the outcome instead of True.
        outcome: where all envelopes that are taken go; None where `keys` says it.
    """

    rule_id: str
    clients: ClientSet
    tags: TagSet
    keys: tuple[tuple[str, Normal], ...]
    outcome: Outcome | None


Meaning = tuple[RuleMeaning, ...]
"""The rules that can match, in the order in which they are tried."""


ENDS = {4: 2**32, 6: 2**128}


def clients_of(
    parts: Iterable[tuple[int, int, int]], *, socket: bool, negated: bool = False
) -> ClientSet:
    """The clients in ranges given as (version, first, end), or all others."""
    ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for version, first, end in parts:
        ranges[version].append((first, end))
    merged = {version: _merged(found) for version, found in ranges.items()}
    if negated:
        socket = not socket
        merged = {version: gaps(found, ENDS[version]) for version, found in merged.items()}
    return ClientSet(socket, merged[4], merged[6])


def _merged(ranges: list[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return tuple(merged)


def gaps(ranges: Ranges, end: int) -> Ranges:
    """What merged ranges leave out below `end`."""
    edges = [0, *(edge for pair in ranges for edge in pair), end]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((first, last) for first, last in pairs if first < last)


def local_parts(own: Iterable[IPAddress]) -> list[tuple[int, int, int]]:
    """The ranges of `local` beside the control socket."""
    return [(a.version, int(a), int(a) + 1) for a in {*LOOPBACK, *own}]


NOBODY = ClientSet(socket=False, v4=(), v6=())
EVERYWHERE = [(4, 0, ENDS[4]), (6, 0, ENDS[6])]


def is_address(text: str) -> bool:
    """Whether smtpd can ask about an address: `local@domain`, or `@` for the null sender."""
    if text.count("@") != 1:
        return False
    return text == "@" or not (text.startswith("@") or text.endswith("@") or "@." in text)


def is_name(text: str) -> bool:
    """Whether a client can have said a name in HELO."""
    return text != "" and not text.startswith(".")


IS_KEY: dict[str, Callable[[str], bool]] = {
    "recipients": is_address,
    "senders": is_address,
    "helos": is_name,
    "auth_users": bool,
}
"""The conditions on keys, with what can be a key of each."""

Value = Outcome | bool | None
"""True or an outcome for a key that is taken, None for another."""
Keys = KeyMap[Value]
KeyMaps = dict[str, Keys]
"""By condition."""


BOTH: Join[Value] = Join(
    lambda one, two: two if one is True else (one if two is True else None),
    keeps_first=frozenset({True}),
    keeps_second=frozenset({True}),
)
"""The keys that both take; the outcome where one knows it."""
EITHER: Join[Value] = Join(
    lambda one, two: one or two,
    keeps_first=frozenset({None}),
    keeps_second=frozenset({None}),
)
"""The keys that one of the two takes."""


def _taken(normal: Normal) -> Normal:
    """The same keys, with True for their outcome."""
    point, rest, children = normal
    below = tuple((character, _taken(child)) for character, child in children)  # type: ignore[arg-type]
    return (True if point else None, True if rest else None, below)


def rule_meaning(
    rule_id: str, clients: ClientSet, tags: TagSet, maps: KeyMaps, outcome: Outcome | None
) -> RuleMeaning | None:
    """The meaning of a rule in its normal form; None where it can never match.

    A table all of whose keys that can be met lead to one outcome decides nothing: such a rule
    means the same as one without a table.
    """
    normals = {name: maps[name].normal(IS_KEY[name]) for name in IS_KEY}
    met = {name: values(normal) - {None} for name, normal in normals.items()}
    never_tagged = not tags.others and not tags.tags
    if clients == NOBODY or never_tagged or not all(met.values()):
        return None
    for name, found in met.items():
        if found != {True} and len(found) == 1:
            (only,) = found
            outcome = only  # type: ignore[assignment]
            normals[name] = _taken(normals[name])
    return RuleMeaning(rule_id, clients, tags, tuple(normals.items()), outcome)
