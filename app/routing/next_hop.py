"""Next hops as rules and tables name them: `mx`, `map:NAME`, `table:NAME` or a relay URL."""

from dataclasses import dataclass

from app.routing.errors import Refused
from app.routing.names import parse_name
from app.routing.relay_url import RelayURL, parse_relay_url


@dataclass(frozen=True, slots=True)
class ViaMx:
    """The mail exchangers of the recipient's domain (RFC 5321 5.1)."""

    def __str__(self) -> str:
        """`mx`."""
        return "mx"


@dataclass(frozen=True, slots=True)
class ViaMap:
    """A relay of a map, picked by the map's policy at each delivery attempt."""

    name: str

    def __str__(self) -> str:
        """`map:NAME`."""
        return f"map:{self.name}"


@dataclass(frozen=True, slots=True)
class ViaTable:
    """What a table says for the envelope's key."""

    name: str

    def __str__(self) -> str:
        """`table:NAME`."""
        return f"table:{self.name}"


MX = ViaMx()
EntryHop = ViaMx | ViaMap | RelayURL
"""What a table's entry or default may say: anything but another table."""
NextHop = EntryHop | ViaTable


def parse_next_hop(text: str) -> NextHop:
    """The next hop that `text` spells.

    Raises:
        Refused: the code of the part that is wrong.
    """
    if text == "mx":
        return MX
    if text.startswith("map:"):
        return ViaMap(parse_name(text.removeprefix("map:")))
    if text.startswith("table:"):
        return ViaTable(parse_name(text.removeprefix("table:")))
    return parse_relay_url(text)


def parse_entry_hop(text: str) -> EntryHop:
    """The next hop of a table's entry or default.

    Raises:
        Refused: also `table-in-table`.
    """
    hop = parse_next_hop(text)
    if isinstance(hop, ViaTable):
        raise Refused("table-in-table", "a table's entry names mx, a map or a relay URL")
    return hop


LONGEST_HOST = 64
"""OpenSMTPD on Linux keeps a host name in HOST_NAME_MAX + 1 octets and cannot take more."""
OLD_SSL = ("ssl", "secure")
"""How schemas of TLS from the first byte begin that were once used for STARTTLS."""


_STARTTLS_PORTS = frozenset({25, 587})


def is_long(url: RelayURL) -> bool:
    """Whether OpenSMTPD cannot take the host."""
    return len(url.host) > LONGEST_HOST


def is_old_ssl_on_starttls(url: RelayURL) -> bool:
    """Whether it says TLS from the first byte, on a port where that begins by STARTTLS."""
    return url.schema.startswith(OLD_SSL) and url.effective_port in _STARTTLS_PORTS


def is_odd(url: RelayURL) -> bool:
    """Whether something can be said against a relay URL in itself."""
    return is_long(url) or is_old_ssl_on_starttls(url)


def is_plain(hop: EntryHop) -> bool:
    """Whether a next hop names nothing of ours, and nothing of itself can be said against it.

    Most of a million next hops are so: what asks who uses what, or looks for findings, need not
    look at them.
    """
    if isinstance(hop, RelayURL):
        return hop.credential is None and not is_odd(hop)
    return isinstance(hop, ViaMx)
