"""The busiest questions, answered before the framework sees them: all that is done for speed alone.

Only a wholly ordinary request is answered here: a known token, plain headers, a body of the usual
members in their right types. Whatever else comes, and every error, goes on to the application with
the body as it came, so that nothing is said here that is not said there; tests hold the two to the
same octets.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from random import Random
from time import monotonic
from typing import Final, NamedTuple, TypeVar

import msgspec
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observe import REQUEST_ID, Count
from app.routing.addresses import DOMAIN, LOCAL, MISPLACED, Addresses
from app.routing.conditions import parse_tag
from app.routing.envelope import (
    Envelope,
    parse_client,
    parse_helo,
    parse_mail_address,
)
from app.routing.errors import Refused
from app.routing.names import parse_user
from app.routing.next_hop import EntryHop, ViaMap
from app.routing.pairs import Led, Pairs, walk_pairs
from app.routing.policies import Pick, Pool
from app.routing.relay_map import Relay
from app.routing.relay_url import RelayURL
from app.routing.resolve import DrawFor, Walked, brief, brief_of, resolve, rewritten, walk
from app.routing.route import (
    Brief,
    Draw,
    MxNeeded,
    NeverDelivered,
    Rejected,
    Resolution,
    Route,
    TryAgain,
    Unrouted,
)
from app.routing.routing_table import RoutingTable, StateKey
from app.routing.rule import RelayAction
from app.server.api.asking import next_chance, next_draw
from app.server.api.auth import Scope as TokenScope
from app.server.api.gate import (
    BODY_LIMIT_S,
    MAX_BODY,
    Numbered,
    is_ours,
    is_request_id,
    log_unforeseen,
)
from app.server.api.line_stream import Line
from app.server.api.many import SLICE_S, Asked, Inquiry
from app.server.api.outcome import outcome_of_kind
from app.server.api.parameters import LONGEST
from app.server.api.routes import resolve as single
from app.server.api.routes import resolve_batch as batch
from app.server.api.schemas.many import MAX_QUESTIONS, Fields
from app.server.api.schemas.question import LONGEST_ADDRESS, ResolutionOut
from app.server.api.services import Services
from app.server.connection import WHOLE

_BEARER: Final = b"Bearer "
_NEEDED = TokenScope.RESOLVE.value
_JSON: Final = b"application/json"
_NDJSON = batch.NDJSON.encode()
_KNOWN_CODINGS = frozenset({b"content-encoding", b"expect"})
_ANY_ANSWER = frozenset({None, b"*/*", _JSON})
_FIELDS = {b"": Fields.FULL, b"fields=full": Fields.FULL, b"fields=brief": Fields.BRIEF}
Kind = type[Resolution] | type[MxNeeded]
_KINDS = (Route, Rejected, Unrouted, NeverDelivered, TryAgain)
_OUTCOMES: Mapping[Kind, str] = {kind: outcome_of_kind(kind).value for kind in _KINDS}
_K = TypeVar("_K")
_T = TypeVar("_T")
_HERE = "\x7f"  # no text of an answer holds it
_NONE_DOWN: frozenset[StateKey] = frozenset()
_LATE: Message = {"type": "late"}
_LONGEST_CLIENT = 64
_MOST_HOSTS = 64
_MOST_SPELT = 65_536
_AT_ONCE = 100
_IDS = Random()  # noqa: S311  an id tells requests apart, and is no secret


def _route_of(routes: Sequence[object]) -> APIRoute:
    """The one of a file's routes that is a POST."""
    (found,) = (each for each in routes if isinstance(each, APIRoute) and each.methods == {"POST"})
    return found


_SINGLE = _route_of(single.router.routes)
_BATCH = _route_of(batch.router.routes)
_SINGLE_PATH, _BATCH_PATH = _SINGLE.path_format, _BATCH.path_format


class Asks(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The ordinary members of a question: texts, all of them."""

    recipient: str
    sender: str | msgspec.UnsetType = msgspec.UNSET
    client: str | msgspec.UnsetType = msgspec.UNSET
    auth_user: str | msgspec.UnsetType = msgspec.UNSET
    helo: str | msgspec.UnsetType = msgspec.UNSET
    tag: str | msgspec.UnsetType = msgspec.UNSET


class AsksMany(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A batch of them."""

    envelopes: list[Asks]


_read_one: Callable[[bytes], Asks] = msgspec.json.Decoder(Asks).decode
_read_many: Callable[[bytes], AsksMany] = msgspec.json.Decoder(AsksMany).decode


def one_of(body: bytes) -> Asks | None:
    """The question that a body spells, if it is an ordinary one."""
    try:
        asks = _read_one(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return asks if _is_plain(body, _quotes(asks)) else None


def many_of(body: bytes) -> list[Asks] | None:
    """The questions that a body spells, if they are ordinary ones."""
    try:
        asked = _read_many(body).envelopes
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not 0 < len(asked) <= MAX_QUESTIONS:
        return None
    return asked if _is_plain(body, 2 + sum(map(_quotes, asked))) else None


def _form(first: str, second: str) -> re.Pattern[str]:
    """A batch as most clients spell it: of ordinary addresses, the two always in one order."""
    text = f'"{LOCAL}@{DOMAIN}"'
    each = rf'\{{"{first}": ?{text}, ?"{second}": ?{text}\}}'
    others = f"(?:, ?{each}){{0,{MAX_QUESTIONS - 1}}}+"
    return re.compile(rf'\{{"envelopes": ?\[{each}{others}\]\}}[ \t\r\n]*+')


_SENDER_FIRST, _RECIPIENT_FIRST = _form("sender", "recipient"), _form("recipient", "sender")
_FIRST = slice(15, 28)
"""Where a body of that form has the name of its first member."""


def pairs_of(body: bytes) -> Pairs | None:
    """The envelopes of a body of the form that most have, which need not be read as JSON."""
    text = body.decode("latin-1")
    recipient_first = "recipient" in text[_FIRST]
    form = _RECIPIENT_FIRST if recipient_first else _SENDER_FIRST
    if not form.fullmatch(text) or MISPLACED.search(text):
        return None
    # Cut at each quote and '@', every question is ten texts.
    lower = text.lower()
    cut = lower.replace("@", '"').split('"')
    written = cut if lower == text else text.replace("@", '"').split('"')
    one, other = Addresses(written[5::10], cut[6::10]), Addresses(written[10::10], cut[11::10])
    return Pairs(other, one) if recipient_first else Pairs(one, other)


def _pairs_among(asked: Sequence[Asks]) -> Pairs | None:
    """The same of questions that were read, if they ask about nothing else."""
    absent = msgspec.UNSET
    if any(each.client is not absent or each.tag is not absent for each in asked):
        return None
    if any(each.auth_user is not absent or each.helo is not absent for each in asked):
        return None
    senders = ["" if each.sender is absent else each.sender for each in asked]
    return Pairs.of(senders, [each.recipient for each in asked])


def _is_plain(body: bytes, quotes: int) -> bool:
    """Whether a body names nothing twice: the reader would take the last, and we refuse it.

    Where nothing is escaped, each member has two quotes around its name and two around its text;
    one that was named twice has more of them than what was read of it.
    """
    return body.count(b'"') == quotes and b"\\" not in body


def _quotes(asks: Asks) -> int:
    absent = msgspec.UNSET
    if asks.client is absent and asks.auth_user is absent and asks.helo is absent:
        return 4 + 4 * (asks.sender is not absent) + 4 * (asks.tag is not absent)
    return 4 * sum(getattr(asks, name) is not absent for name in Asks.__struct_fields__)


def _envelope(asks: Asks) -> Envelope | None:
    """The envelope of a question; None where something about it is not ordinary."""
    absent = msgspec.UNSET
    sender = "" if asks.sender is absent else asks.sender
    if len(asks.recipient) > LONGEST_ADDRESS or len(sender) > LONGEST_ADDRESS:
        return None
    try:
        if asks.client is asks.tag is asks.auth_user is asks.helo is absent:
            return Envelope(parse_mail_address(sender), parse_mail_address(asks.recipient))
        if _too_long(asks):
            return None
        return Envelope(
            parse_mail_address(sender),
            parse_mail_address(asks.recipient),
            None if asks.client is absent else parse_client(asks.client),
            None if asks.auth_user is absent else str(parse_user(asks.auth_user)),
            None if asks.helo is absent else parse_helo(asks.helo),
            "" if asks.tag is absent else str(parse_tag(asks.tag)),
        )
    except Refused:
        return None


def _too_long(asks: Asks) -> bool:
    """Whether a text that is parsed is longer than any text of its kind."""
    return any(
        text is not msgspec.UNSET and len(text) > most
        for text, most in (
            (asks.client, _LONGEST_CLIENT),
            (asks.auth_user, LONGEST),
            (asks.helo, LONGEST),
            (asks.tag, LONGEST),
        )
    )


class _Picks(NamedTuple):
    """How a relay map picks.

    Attributes:
        pool: its relays in service.
        each: how the first of each group is picked.
    """

    pool: Pool
    each: Sequence[Pick]


class _Spelt:
    """What was spelt of one routing.

    The table keeps what is known here by its id.

    Attributes:
        ends: the answers that are no routes.
        routes: what stands around rule and sender in the answer of a route, by what it hangs on.
        urls: by the id of a relay URL, its text.
        kept: how many `ends`, `routes` and `urls` there are.
        picks: by the name of a relay map, how it picks; None where that hangs on the envelope, or
            no relay is in service.
    """

    __slots__ = ("_actions", "_numbers", "ends", "kept", "picks", "routes", "table", "urls")

    def __init__(self, table: RoutingTable) -> None:
        self.table = table
        self.ends: dict[Resolution, str] = {}
        self.routes: dict[tuple[int, ...], tuple[str, str, str]] = {}
        self.urls: dict[int, str] = {}
        self.kept = 0
        self.picks: dict[str, _Picks | None] = {}
        self._numbers: dict[int, int] = {}
        self._actions: dict[tuple[object, ...], int] = {}

    def keep(self, texts: dict[_K, _T], key: _K, text: _T) -> _T:
        """Keep what was spelt, and count it."""
        texts[key] = text
        self.kept += 1
        return text

    def number_of(self, action: RelayAction) -> int:
        """The same for all actions whose answers differ in rule and sender alone."""
        number = self._numbers.get(id(action))
        if number is None:
            of = action
            key = of.via, of.tls_verify, of.certificate, of.ca, of.sources, of.helo
            number = self._actions.setdefault(key, len(self._actions))
            self._numbers[id(action)] = number
        return number


class Quick:
    """Answers ordinary questions as JSON, and remembers what it has spelt of a routing.

    Names, hosts and addresses hold nothing that JSON would escape.
    """

    def __init__(self, services: Services) -> None:
        self._seconds = services.metrics.resolve_seconds
        self._resolved: Mapping[Kind, Count] = {
            kind: services.metrics.resolved.of(_OUTCOMES[kind]) for kind in _KINDS
        }
        self._live = services.live
        self._draw: DrawFor = partial(next_draw, services.live)
        self._known: _Spelt | None = None
        self._answered = 0
        self._began = 0.0
        services.live.when_replaced(self._forget)

    def _forget(self) -> None:
        """Keep no routing alive: its millions of entries would be freed in the next question."""
        self._known = None

    def begin(self) -> None:
        """Begin to time."""
        self._began = monotonic()

    def end(self) -> None:
        """Note the time of what was answered since, each with its part of it."""
        answered = self._answered
        if answered:
            self._seconds.observe((monotonic() - self._began) / answered, answered)
            self._answered = 0

    def _count(self, kind: Kind, times: int = 1) -> None:
        self._answered += times
        self._resolved[kind].times += times

    def answer(self, table: RoutingTable, asks: Asks, fields: Fields) -> str | None:
        """The answer; None where it takes more than memory, or is not an ordinary one."""
        envelope = _envelope(asks)
        if envelope is None:
            return None
        spelt = self._spelt_of(table)
        if fields is Fields.BRIEF:
            return self._said(spelt, *brief(table, envelope, _NONE_DOWN, self._draw))
        walked = walk(table, envelope) if envelope.recipient.domain else None
        return self._full(spelt, walked, envelope.sender.spelling, lambda: envelope)

    def answers(
        self, table: RoutingTable, pairs: Pairs, fields: Fields
    ) -> Iterator[Sequence[str | None]]:
        """The same for each of many, in parts: empty ones where one of them took its time."""
        spelt, led = self._spelt_of(table), walk_pairs(table, pairs)
        for number in led.alone:
            led.walk_alone(number)
            yield ()
        if fields is Fields.BRIEF:
            yield from self._briefs(spelt, led)
            return
        for number in range(len(pairs)):
            sender, envelope = pairs.senders.spelling(number), partial(pairs.envelope, number)
            yield (self._full(spelt, led.walked(number), sender, envelope),)

    def _spelt_of(self, table: RoutingTable) -> _Spelt:
        spelt = self._known
        if spelt is None or spelt.table is not table or spelt.kept > _MOST_SPELT:
            spelt = _Spelt(table)
            if self._live.current().table is table:  # else it was forgotten already
                self._known = spelt
        return spelt

    def _briefs(self, spelt: _Spelt, led: Led) -> Iterator[Sequence[str | None]]:
        """In columns; whatever is spelt for the first time, or is no route, is said one by one."""
        hops = led.hops.copy()
        yield from self._pick(spelt, led, hops)
        urls = list(map(spelt.urls.get, map(id, hops)))
        found = [
            url and f'{{"outcome":"relay","rule":"{rule.name}","url":"{url}"}}'  # type: ignore[union-attr]
            for rule, url in zip(led.rules, urls, strict=True)
        ]
        others = [number for number, url in enumerate(urls) if url is None]
        if len(others) < len(found):
            self._count(Route, len(found) - len(others))
        for number in others:
            rule, hop = led.rules[number], hops[number]
            if rule is not None and isinstance(hop, RelayURL):
                found[number] = self._said(spelt, Route, rule.name, hop)
            else:
                found[number] = self._said(spelt, *self._in_short(spelt, led, number))
        yield found

    def _pick(
        self, spelt: _Spelt, led: Led, hops: list[EntryHop | None]
    ) -> Iterator[Sequence[str | None]]:
        """Put the relays of maps into their places, in the order in which they are drawn."""
        # Of this part of a batch alone: a newer snapshot may have other turns.
        picking: dict[str, tuple[Sequence[Relay], Pick, Iterator[int]] | None] = {}
        for number, via in enumerate(hops):
            if type(via) is ViaMap:
                name = via.name
                if name not in picking:
                    picks, turns = self._picks_of(spelt, name), self._live.turns(name)
                    picking[name] = picks and (picks.pool.groups[0], picks.each[0], turns)
                found = picking[name]
                if found is not None:
                    relays, pick, turns = found
                    hops[number] = relays[pick(next(turns), next_chance(), "")].url
                else:
                    hops[number] = self._in_short(spelt, led, number)[2] or via
                    yield ()

    def _in_short(self, spelt: _Spelt, led: Led, number: int) -> Brief:
        walked, envelope = led.walked(number), led.pairs.envelope(number)
        return brief_of(spelt.table, walked, envelope, _NONE_DOWN, self._draw)

    def _said(
        self, spelt: _Spelt, kind: Kind, rule: str | None, url: RelayURL | None
    ) -> str | None:
        """A brief answer."""
        if kind is MxNeeded:
            return None
        self._count(kind)
        if url is not None:
            text = spelt.urls.get(id(url))
            if text is None:
                text = spelt.keep(spelt.urls, id(url), str(url))
            return f'{{"outcome":"relay","rule":"{rule}","url":"{text}"}}'
        by = "null" if rule is None else f'"{rule}"'
        return f'{{"outcome":"{_OUTCOMES[kind]}","rule":{by},"url":null}}'

    def _full(
        self, spelt: _Spelt, walked: Walked | None, sender: str, envelope: Callable[[], Envelope]
    ) -> str | None:
        """A whole answer; the envelope is made where it is needed."""
        table = spelt.table
        rule, hop = walked or (None, None)
        if rule is None or not isinstance(rule.action, RelayAction):
            return self._slowly(spelt, envelope())
        action, turn, chance = rule.action, 0, 0.0
        # What the answer hangs on beside the names of rule and sender.
        key: tuple[int, ...]
        if isinstance(hop, ViaMap):
            name = hop.name
            picks = self._picks_of(spelt, name)
            if picks is None:
                return self._slowly(spelt, envelope())
            turn, chance = self._live.next_turn(name), next_chance()
            places = [pick(turn, chance, "") for pick in picks.each]
            key = spelt.number_of(action), id(picks.pool), *places
        elif isinstance(hop, RelayURL):
            key = spelt.number_of(action), id(hop)
        else:
            return self._slowly(spelt, envelope())
        around = spelt.routes.get(key)
        if around is None:
            found = resolve(table, envelope(), _NONE_DOWN, lambda _: Draw(turn, chance))
            if not isinstance(found, Route):
                raise TypeError
            around = spelt.keep(spelt.routes, key, _spelling(found, table.revision))
        self._count(Route)
        before, between, behind = around
        if action.mail_from is not None:
            sender = rewritten(envelope().sender, action.mail_from)
        return f"{before}{rule.name}{between}{sender}{behind}"

    @staticmethod
    def _picks_of(spelt: _Spelt, name: str) -> _Picks | None:
        if name not in spelt.picks:
            relay_map = spelt.table.maps[name]
            pool, picks = spelt.table.active_relays(relay_map), None
            if pool and relay_map.hash_key is None:
                picks = _Picks(pool, [prepared.pick for prepared in pool.prepared])
            spelt.picks[name] = picks
        return spelt.picks[name]

    def _slowly(self, spelt: _Spelt, envelope: Envelope) -> str | None:
        table = spelt.table
        found = resolve(table, envelope, _NONE_DOWN, self._draw)
        if isinstance(found, MxNeeded):
            return None
        kind = type(found)
        self._count(kind)
        if isinstance(found, Route):
            return ResolutionOut.of(found, table.revision, explain=False).model_dump_json()
        text = spelt.ends.get(found)
        if text is None:
            out = ResolutionOut.of(found, table.revision, explain=False)
            text = spelt.keep(spelt.ends, found, out.model_dump_json())
        return text


def _spelling(route: Route, revision: int) -> tuple[str, str, str]:
    """What stands before, between and behind the rule and the sender in the answer of a route."""
    open_ended = replace(route, rule=_HERE, mail_from=_HERE)
    out = ResolutionOut.of(open_ended, revision, explain=False)
    before, between, behind = out.model_dump_json().split(_HERE)
    return before, between, behind


class Hot:
    """Stands in front of the application.

    Attributes:
        answered: requests that it answered itself.
    """

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services
        self._quick = Quick(services)
        self._hosts: set[bytes] = set()
        self._streams = Numbered(self._stream, services.metrics)
        self._singles = services.metrics.http_requests.of(_SINGLE_PATH, "POST", "200")
        self._batches = services.metrics.http_requests.of(_BATCH_PATH, "POST", "200")
        self._seconds = services.metrics.http_request_seconds
        self.answered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or leave it to the application."""
        if scope["type"] == "http" and scope["method"] == "POST":
            path = scope["path"]
            if path == _SINGLE_PATH:
                await self._answer(_SINGLE, scope, receive, send)
                return
            if path == _BATCH_PATH:
                await self._answer(_BATCH, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _answer(self, route: APIRoute, scope: Scope, receive: Receive, send: Send) -> None:
        began = monotonic()
        headers = self._ordinary(scope, route)
        if headers is None:
            await self._app(scope, receive, send)
            return
        if headers[b"content-type"] == _NDJSON:
            scope["route"] = _BATCH
            self.answered += 1
            await self._streams(scope, receive, send)
            return
        came: list[Message] = [await receive()]
        while came[-1].get("more_body"):
            came.append(await _more(receive, began))
        request_id = _request_id(headers)
        body, text = _body(came), None
        table = self._services.live.current().table
        try:
            if body is not None and route is _SINGLE:
                text = self._one(table, body, Fields.FULL)
            elif body is not None:
                text = await self._many(table, body, _FIELDS[scope["query_string"]], request_id)
        except Exception as error:  # noqa: BLE001  the application has the last word
            log_unforeseen(error)
        if text is None:
            await self._app(scope, _replay(came, receive), send)
            return
        self.answered += 1
        await _send(scope, send, route, text, request_id)
        (self._singles if route is _SINGLE else self._batches).times += 1
        self._seconds.observe(monotonic() - began)

    def _one(self, table: RoutingTable, body: bytes, fields: Fields) -> str | None:
        """The answer to a question; None where it is not an ordinary one."""
        asks = one_of(body)
        if asks is None:
            return None
        self._quick.begin()
        try:
            return self._quick.answer(table, asks, fields)
        finally:
            self._quick.end()

    async def _many(
        self, table: RoutingTable, body: bytes, fields: Fields, request_id: str
    ) -> str | None:
        """The same of a batch."""
        self._quick.begin()
        try:
            return await self._answers_to_many(table, body, fields, request_id)
        finally:
            self._quick.end()

    async def _answers_to_many(
        self, table: RoutingTable, body: bytes, fields: Fields, request_id: str
    ) -> str | None:
        answers = self._answers(table, body, fields)
        if answers is None:
            return None
        found: list[str | None] = []
        until = monotonic() + SLICE_S
        for some in answers:
            found += some
            if monotonic() > until:
                self._quick.end()
                await asyncio.sleep(0)
                self._quick.begin()
                until = monotonic() + SLICE_S
        if None in found:
            asked = many_of(body)
            if asked is None:
                raise TypeError  # it was read already
            self._quick.end()
            marker = REQUEST_ID.set(request_id)  # problems name it
            try:
                await self._complete(found, asked, table, fields)
            finally:
                REQUEST_ID.reset(marker)
                self._quick.begin()
        return f'{{"revision":{table.revision},"results":[{",".join(found)}]}}'  # type: ignore[arg-type]

    def _answers(
        self, table: RoutingTable, body: bytes, fields: Fields
    ) -> Iterator[Sequence[str | None]] | None:
        """The answers to a batch, in parts, when they are asked for; None where it is not plain."""
        quick, pairs = self._quick, pairs_of(body)
        if pairs is None:
            asked = many_of(body)
            if asked is None:
                return None
            pairs = _pairs_among(asked)
            if pairs is None:
                return ((quick.answer(table, asks, fields),) for asks in asked)
        starts = range(0, len(pairs), _AT_ONCE)
        parts = (pairs.part(start, start + _AT_ONCE) for start in starts)
        return chain.from_iterable(quick.answers(table, part, fields) for part in parts)

    async def _complete(
        self, found: list[str | None], asked: Sequence[Asks], table: RoutingTable, fields: Fields
    ) -> None:
        """Have the questions that are not ordinary answered as the application answers them."""
        places = [place for place, answer in enumerate(found) if answer is None]
        others = [Asked(msgspec.to_builtins(asked[place])) for place in places]
        answers = await Inquiry(self._services, table, fields).answers(others)
        for place, answer in zip(places, answers, strict=True):
            found[place] = answer

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields = _FIELDS[scope["query_string"]]
        await batch.Stream(self._services, fields, self._line)(scope, receive, send)

    def _line(self, table: RoutingTable, line: Line, fields: Fields) -> str | None:
        return None if line.text is None else self._one(table, line.text, fields)

    def _ordinary(self, scope: Scope, route: APIRoute) -> dict[bytes, bytes] | None:
        """The headers of a request that may ask, if all about them is ordinary."""
        given: list[tuple[bytes, bytes]] = scope["headers"]
        headers = dict(given)
        if len(headers) != len(given) or not _KNOWN_CODINGS.isdisjoint(headers):
            return None
        kind = headers.get(b"content-type")
        if route is _SINGLE:
            if scope["query_string"] or headers.get(b"accept") not in _ANY_ANSWER:
                return None
        elif scope["query_string"] not in _FIELDS:
            return None
        if kind == _JSON:
            length = headers.get(b"content-length", b"")
            if not length.isdigit() or int(length) > MAX_BODY:
                return None
        elif kind != _NDJSON or route is _SINGLE:
            return None
        return headers if self._may_ask(headers) and self._is_to_us(headers) else None

    def _is_to_us(self, headers: dict[bytes, bytes]) -> bool:
        host = headers.get(b"host", b"")
        if host in self._hosts:
            return True
        allowed = self._services.options.allowed_hosts
        ours = is_ours([host.decode("latin-1")], allowed)
        if ours and len(self._hosts) < _MOST_HOSTS:
            self._hosts.add(host)
        return ours

    def _may_ask(self, headers: dict[bytes, bytes]) -> bool:
        said = headers.get(b"authorization", b"")
        if not said.startswith(_BEARER):
            return False
        row = self._services.tokens.known(said[len(_BEARER) :])
        return row is not None and row.mta is None and _NEEDED in row.scopes


def _body(came: Sequence[Message]) -> bytes | None:
    """The body that came in these parts; None where it was cut off, or is too long."""
    if came[-1]["type"] != "http.request":
        return None
    body: bytes = came[0]["body"] if len(came) == 1 else b"".join(part["body"] for part in came)
    return body if len(body) <= MAX_BODY else None


async def _more(receive: Receive, began: float) -> Message:
    """The next part of a body; one that says that it is late, where it is."""
    try:
        async with asyncio.timeout(began + BODY_LIMIT_S - monotonic()):
            return await receive()
    except TimeoutError:
        return _LATE


def _replay(came: Sequence[Message], receive: Receive) -> Receive:
    """What gives the application what came, and then what comes."""
    left = list(reversed(came))

    async def replayed() -> Message:
        if not left:
            return await receive()
        message = left.pop()
        if message is _LATE:
            raise TimeoutError
        return message

    return replayed


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id")
    if given is not None and is_request_id(said := given.decode("latin-1")):
        return said
    return f"{_IDS.getrandbits(64):016x}"


async def _send(scope: Scope, send: Send, route: APIRoute, text: str, request_id: str) -> None:
    body = text.encode() + b"\n"
    headers = [
        (b"content-length", b"%d" % len(body)),
        (b"content-type", _JSON),
        (b"x-request-id", request_id.encode()),
    ]
    if route is _SINGLE:
        headers.insert(0, (b"vary", b"Accept"))
    weakly = scope["state"].get(WHOLE) if "state" in scope else None
    whole = weakly and weakly()
    if not whole or not whole(scope, headers, body):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
