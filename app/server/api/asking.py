"""Asks the routing where an envelope goes, and the DNS where the answer hangs on it."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from time import perf_counter

from app.routing.envelope import LOOPBACK, Envelope, Undeliverable, parse_client, parse_mail_address
from app.routing.names import IPAddress
from app.routing.resolve import resolve
from app.routing.route import Draw, MxNeeded, NeverDelivered, Resolution
from app.routing.routing_table import RoutingTable, StateKey
from app.server.api.outcome import outcome_of
from app.server.api.schemas.question import Question
from app.server.api.services import Services
from app.server.live import Live

_CHANCE = Random()  # noqa: S311  spreads load; nobody is harmed who guesses it
next_chance: Callable[[], float] = _CHANCE.random
"""A number in [0, 1), as a message would see it."""


async def routing_for(services: Services, mta: str | None) -> RoutingTable:
    """The routing that a question is asked of: the newest, or the one that an MTA confirmed.

    Raises:
        Unknown: there is no such MTA.
        NothingConfirmed: which routing it serves is not known.
        RevisionPruned: it serves a revision that was forgotten since.
    """
    if mta is None:
        return services.live.current().table
    return await services.confirmed.of(mta)


async def ask(services: Services, table: RoutingTable, question: Question) -> Resolution:
    """Where the envelope of a question goes, by one state of routing.

    With an MTA in the question: with its addresses, and without the relays that are down there.

    Raises:
        Unknown: the question names an MTA that is not there.
    """
    begun = begin(services, table, question)
    return await settle(services, begun) if isinstance(begun, Pending) else begun


@dataclass(frozen=True, slots=True)
class Pending:
    """A question whose answer hangs on the MX records of a domain.

    Attributes:
        began: when it was asked, of the clock that times questions.
    """

    table: RoutingTable
    envelope: Envelope
    down: frozenset[StateKey]
    draws: "Draws"
    domain: str
    began: float
    explain: bool


def begin(services: Services, table: RoutingTable, question: Question) -> Resolution | Pending:
    """As `ask`, as far as memory answers.

    Raises:
        Unknown: the question names an MTA that is not there.
    """
    began = perf_counter()
    own, down = frozenset[IPAddress](), frozenset[StateKey]()
    if question.mta is not None:
        own = services.fleet.addresses(question.mta)
        down = services.fleet.sight(question.mta, services.now()).down
    try:
        envelope = envelope_of(question, own)
    except Undeliverable as refused:
        return _counted(services, NeverDelivered("bad-address", str(refused)), began)
    draws = Draws(services.live, question.draw)
    found = resolve(table, envelope, down, draws.of, explain=question.explain)
    if isinstance(found, MxNeeded):
        explain = question.explain
        return Pending(table, envelope, down, draws, found.domain, began, explain)
    return _counted(services, found, began)


async def settle(services: Services, pending: Pending) -> Resolution:
    """The answer, once the DNS has given its own."""
    draw = pending.draws.of
    mx = await services.resolver.look_up(pending.domain, draw("").uniform)
    explain = pending.explain
    settled = resolve(pending.table, pending.envelope, pending.down, draw, mx, explain=explain)
    if isinstance(settled, MxNeeded):
        raise TypeError  # the core has the answer that it asked for
    return _counted(services, settled, pending.began)


def _counted(services: Services, found: Resolution, began: float) -> Resolution:
    services.metrics.resolve_seconds.observe(perf_counter() - began)
    services.metrics.resolved.add(outcome_of(found).value)
    return found


def envelope_of(question: Question, own: frozenset[IPAddress]) -> Envelope:
    """The envelope that a question is about.

    Raises:
        Undeliverable: an MTA refuses an address of it before any rule.
    """
    return Envelope(
        sender=parse_mail_address(question.sender),
        recipient=parse_mail_address(question.recipient),
        client=parse_client(question.client),
        auth_user=question.auth_user,
        helo=question.helo,
        tag=question.tag or "",
        own_addresses=LOOPBACK | own,
    )


class Draws:
    """Turn and chance of each map that a question asks for, once each."""

    def __init__(self, live: Live, number: int | None) -> None:
        """Take the next turn and a new chance, or those that `number` stands for."""
        self._live = live
        self._number = number
        self._drawn: dict[str, Draw] = {}

    def of(self, name: str) -> Draw:
        """The draw of a map; "" for MX hosts."""
        if name not in self._drawn:
            self._drawn[name] = self._draw(name)
        return self._drawn[name]

    def _draw(self, name: str) -> Draw:
        if self._number is None:
            return next_draw(self._live, name)
        digest = blake2b(self._number.to_bytes(8), digest_size=8).digest()
        return Draw(self._number, (int.from_bytes(digest) >> 11) / 2**53)


def next_draw(live: Live, name: str) -> Draw:
    """The next turn of a map and a new chance, as a message would see them."""
    return Draw(live.next_turn(name), next_chance())
