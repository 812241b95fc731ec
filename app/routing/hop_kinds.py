"""What most questions ask of next hops: of a million that differ there are a few kinds."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from app.routing.credential import Credential
from app.routing.names import host_address
from app.routing.next_hop import (
    LONGEST_HOST,
    EntryHop,
    ViaMap,
    ViaMx,
    is_odd,
    is_old_ssl_on_starttls,
    is_plain,
)
from app.routing.relay_url import RelayURL


@dataclass(frozen=True, slots=True)
class RelayKind:
    """What is asked of a relay but for its host.

    Attributes:
        mandatory: whether nothing is delivered without TLS.
        credential: the label that it logs in with.
        family: 4 or 6 where it is given by an address.
        too_long: how many characters its host has, if that is more than `LONGEST_HOST`; else 0.
    """

    mandatory: bool
    credential: str | None = None
    family: int | None = None
    too_long: int = 0


_LAST_OF_ADDRESSES = (*"0123456789]",)
HopKind: TypeAlias = ViaMx | ViaMap | RelayKind
"""What is asked of a next hop; `mx` and a map are kinds of their own."""
Credentials: TypeAlias = Mapping[str, Credential]
_MOST_KNOWN = 10_000
"""Next hops that are known again while entries are summed up."""


def kind_of(hop: EntryHop) -> HopKind:
    """The kind of a next hop."""
    if not isinstance(hop, RelayURL):
        return hop
    host = hop.host
    # To ask it of every name would take ten times all the rest.
    address = host_address(host) if host.endswith(_LAST_OF_ADDRESSES) else None
    return RelayKind(
        hop.tls.mandatory,
        hop.credential,
        None if address is None else address.version,
        len(host) if len(host) > LONGEST_HOST else 0,
    )


def named_in(kinds: Iterable[HopKind]) -> frozenset[ViaMap | str]:
    """The maps that are among some kinds, and the labels of credentials that are."""
    maps = {kind for kind in kinds if isinstance(kind, ViaMap)}
    return frozenset({*maps, *labels_in(kinds)})


def labels_in(kinds: Iterable[HopKind]) -> frozenset[str]:
    """The labels of credentials that are among some kinds."""
    labels = (kind.credential for kind in kinds if isinstance(kind, RelayKind))
    return frozenset(label for label in labels if label is not None)


@dataclass(frozen=True, slots=True)
class Odd:
    """A relay URL against which something can be said in itself.

    Beside others that mean the same it is another one: how it is spelt may be what is said.
    """

    url: RelayURL
    old_ssl: bool

    def __str__(self) -> str:
        """The spelling of the URL."""
        return str(self.url)


Noted: TypeAlias = ViaMap | RelayURL | Odd
"""What names something of ours, or is odd."""


def noted_as(hop: EntryHop) -> Noted | None:
    """What a next hop is noted as; None where it is plain."""
    if is_plain(hop) or isinstance(hop, ViaMx):
        return None
    if isinstance(hop, RelayURL) and is_odd(hop):
        return Odd(hop, is_old_ssl_on_starttls(hop))
    return hop


def hop_of(noted: Noted) -> EntryHop:
    """What is noted so."""
    return noted.url if isinstance(noted, Odd) else noted


def is_doubtful(noted: Noted, credentials: Credentials) -> bool:
    """Whether its kind does not tell all that can be said against a next hop.

    It is odd in itself, or its credential is not there, or not for its host.
    """
    if isinstance(noted, ViaMap):
        return False
    if isinstance(noted, Odd):
        return True
    credential = credentials.get(noted.credential or "")
    return credential is None or not credential.allows(noted.host)


def summed(
    leaves: Iterable[Mapping[str, EntryHop]],
) -> tuple[dict[HopKind, int], dict[Noted, int]]:
    """How many entries, given in parts, have each kind of next hop, and each noted one."""
    kinds: Counter[HopKind] = Counter()
    noted: Counter[Noted] = Counter()
    known: dict[int, tuple[HopKind, Noted | None]] = {}
    for leaf in leaves:  # one call over a million would hold up every other thread
        hops = dict(zip(map(id, leaf.values()), leaf.values(), strict=True))
        for number, count in Counter(map(id, leaf.values())).items():
            kind, as_noted = known.get(number) or _told(hops[number])
            if len(known) < _MOST_KNOWN:
                known[number] = kind, as_noted
            kinds[kind] += count
            if as_noted is not None:
                noted[as_noted] += count
    return kinds, noted


def told(hops: Iterable[tuple[EntryHop, int]]) -> tuple[dict[HopKind, int], dict[Noted, int]]:
    """As `summed`, of next hops that were counted already, however they are spelt."""
    kinds: Counter[HopKind] = Counter()
    noted: Counter[Noted] = Counter()
    for hop, count in hops:
        kind, as_noted = _told(hop)
        kinds[kind] += count
        if as_noted is not None:
            noted[as_noted] += count
    return kinds, noted


def _told(hop: EntryHop) -> tuple[HopKind, Noted | None]:
    return kind_of(hop), noted_as(hop)
