"""What a resolution answers: where an envelope goes, over which transport, and why."""

from dataclasses import dataclass, field

from app.routing.names import IPAddress
from app.routing.relay_url import TLS, Protocol, RelayURL

# Nobody changes any of these. Those made by the thousand are not frozen: that takes three times as
# long.


@dataclass(slots=True, unsafe_hash=True)
class Draw:
    """What chance and history contribute to one pick.

    Attributes:
        turn: how many picks of this map came before; counts on over edits.
        uniform: a number in [0, 1).
        key: the text that policy `hash` hashes; "" where nothing is hashed.
    """

    turn: int = 0
    uniform: float = 0.0
    key: str = ""


@dataclass(slots=True, unsafe_hash=True)
class Host:
    """The host and port that a connection goes to."""

    host: str
    port: int


@dataclass(slots=True, unsafe_hash=True)
class Transport:
    """How the message is handed over.

    Attributes:
        verify: whether the relay's certificate is checked; None where TLS is opportunistic or
            off: nobody checks then.
        credential: the label to log in with, never the secret.
    """

    protocol: Protocol
    tls: TLS
    verify: bool | None
    credential: str | None = None
    certificate: str | None = None
    ca: str | None = None
    sources: tuple[IPAddress, ...] = ()
    helo: str | None = None


@dataclass(slots=True, unsafe_hash=True)
class Candidate:
    """One place that a message may go to.

    Attributes:
        relay: its name in the map; None for a relay URL of a rule and for MX hosts.
        share: the part of such mail that it gets now, 0 to 1; None for MX hosts.
        url: as written in the map, rule or entry; None for MX hosts.
    """

    mx: Host
    transport: Transport
    relay: str | None = None
    share: float | None = None
    url: RelayURL | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that was tried.

    Attributes:
        because: the first condition that said no, `not.NAME` for one that must not hold, `table`
            where a table without default lacks the key; None where the rule matched.
    """

    rule: str
    matched: bool
    because: str | None = None


@dataclass(slots=True, unsafe_hash=True)
class Route:
    """Here is where it goes: the first candidate, then the others in the order tried."""

    rule: str
    candidates: tuple[Candidate, ...]
    mail_from: str
    table: str | None = None
    relay_map: str | None = None
    trace: tuple[Step, ...] = ()

    @property
    def chosen(self) -> Candidate:
        """Where the message goes now."""
        return self.candidates[0]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rule says no; the client sees 550 5.7.1 and `message`, or the MTA's own words."""

    rule: str
    message: str | None = None
    trace: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Unrouted:
    """No rule takes it."""

    trace: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class NeverDelivered:
    """The address can never be delivered to (`undeliverable` in answers).

    Attributes:
        code: `bad-address`, `nxdomain`, `null-mx`, ….
        because: one sentence.
    """

    code: str
    because: str
    rule: str | None = None
    trace: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class TryAgain:
    """It would be routed, but not now.

    Attributes:
        code: `no-usable-relay`, `dns-timeout`, `dns-failure`, `no-address`, ….
        because: one sentence.
        retry_after_s: seconds, where known.
    """

    rule: str
    code: str
    because: str
    retry_after_s: int | None = None
    table: str | None = None
    relay_map: str | None = None
    trace: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class MxNeeded:
    """The answer hangs on the MX records of a domain: look them up and ask again with them."""

    domain: str


Resolution = Route | Rejected | Unrouted | NeverDelivered | TryAgain

Brief = tuple[type[Resolution] | type[MxNeeded], str | None, RelayURL | None]
"""An answer in short: what it is, the rule, and the relay URL of the first candidate, if any."""


@dataclass(frozen=True, slots=True)
class MxHosts:
    """The mail exchangers of a domain, in the order in which they are tried; never empty."""

    hosts: tuple[str, ...]
    implicit: bool = field(default=False)


@dataclass(frozen=True, slots=True)
class MxFailure:
    """Why a domain has no mail exchanger to try.

    Attributes:
        permanent: True: never (NXDOMAIN, null MX); False: not now.
        code: `nxdomain`, `null-mx`, `dns-timeout`, `dns-failure`, `no-address`, `cname-loop`.
    """

    permanent: bool
    code: str
    because: str
    retry_after_s: int | None = None


MxAnswer = MxHosts | MxFailure
