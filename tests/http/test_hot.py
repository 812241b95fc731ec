"""The busiest questions say the same, octet for octet, with and without the way in front."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any
from weakref import ref

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message

from app.routing.envelope import parse_mail_address
from app.server.api import asking
from app.server.api.app import create_app, served
from app.server.api.gate import MAX_BODY
from app.server.api.hot import Hot, pairs_of
from app.server.api.services import Services
from app.server.main import open_services
from app.settings import ServerSettings

SINGLE, BATCH = "/v1/resolve", "/v1/resolve/batch"
RELAYS = [
    {"name": "mx1", "url": "tls+auth://acct@mx1.example.net:587", "weight": 3},
    {"name": "mx2", "url": "smtps://mx2.example.net"},
    {"name": "mx3", "url": "smtp://[2001:db8::1]:2525", "priority": 20},
]
GROUPS = [{"url": f"smtp://g{n}.example", "priority": 10 if n < 2 else 20} for n in range(5)]
CREDENTIAL = {"username": "u", "password": "p", "hosts": ["mx1.example.net"]}
POLICIES = {
    "turns": {"policy": "round-robin"},
    "parts": {"policy": "ratio"},
    "first": {"policy": "failover"},
    "chance": {"policy": "random"},
    "keyed": {"policy": "hash", "hash_key": "sender"},
}
OPTIONS = {"tls_verify": True, "helo": "out.example", "source": ["192.0.2.1"]}


def rule(match: object, via: str, **options: object) -> dict[str, object]:
    return {"match": match, "action": {"kind": "relay", "via": via, **options}}


WRITES: Sequence[tuple[str, Any]] = (
    *((f"relay-maps/{name}", {"relays": RELAYS, **policy}) for name, policy in POLICIES.items()),
    ("relay-maps/none", {"relays": RELAYS[1:2]}),
    ("relay-maps/groups", {"relays": GROUPS, "policy": "round-robin"}),
    ("tables/domains", {"key": "recipient-domain"}),
    ("tables/domains/entries/keyed.example", {"via": "map:parts"}),
    ("tables/domains/entries/turned.example", {"via": "map:turns"}),
    ("tables/domains/entries/one.example", {"via": "lmtp://[2001:db8::2]:24"}),
    ("rules/no", {"match": {"senders": ["no.example"]}, "action": {"kind": "reject"}}),
    (
        "rules/words",
        {
            "match": {"senders": ["words.example"]},
            "action": {"kind": "reject", "message": "not you, here"},
        },
    ),
    *(
        (f"rules/by-{name}", rule({"senders": [f"{name}.example"]}, f"map:{name}"))
        for name in (*POLICIES, "none", "groups")
    ),
    ("rules/direct", rule({"senders": ["direct.example"]}, "smtp+notls://a.example:26")),
    ("rules/mx", rule({"senders": ["mx.example"]}, "mx")),
    ("rules/user", rule({"auth_users": ["ann"]}, "map:first")),
    ("rules/tag", rule({"tags": ["internal"]}, "smtp://tag.example")),
    ("rules/helo", rule({"helos": ["*.helo.example"]}, "smtp://helo.example")),
    ("rules/client", rule({"clients": ["192.0.2.0/24"]}, "smtp://client.example")),
    ("rules/rest", {"priority": 9000, **rule({}, "table:domains")}),
)


class Both:
    """One server, asked with the way in front and without it, from the same turn and chance."""

    def __init__(self, services: Services, token: str) -> None:
        self.services = services
        self.hot: Hot = served(services)
        self.plain = create_app(services)
        self.token = token
        self.runner = asyncio.Runner()

    async def write(self) -> None:
        await self.put("credentials/acct", CREDENTIAL)
        for path, body in WRITES:
            await self.put(path, body)
        await self.put("relay-maps/none/relays/mx2/state", {"state": "out"})

    async def put(self, path: str, body: object) -> None:
        headers = self.headers({"content-type": "application/json"})
        said = await call(self.plain, f"/v1/{path}", [json.dumps(body).encode()], headers, "PUT")
        assert said[0] in {200, 201}, said

    def headers(self, more: dict[str, str]) -> list[tuple[bytes, bytes]]:
        given = {"host": "localhost", "authorization": f"Bearer {self.token}", "x-request-id": "r"}
        return [(name.encode(), value.encode("latin-1")) for name, value in (given | more).items()]

    async def said(
        self, path: str, parts: Sequence[bytes], headers: list[tuple[bytes, bytes]]
    ) -> tuple[Any, Any]:
        """What both answer, and what they count meanwhile."""
        found = []
        for app in (self.hot, self.plain):
            self.services.live._turns.clear()
            asking._CHANCE.seed(1)
            before = _counted(self.services, ("relaymap_resolve",))
            answer = await call(app, path, parts, headers)
            after = _counted(self.services, ("relaymap_resolve",))
            counts = {name: after[name] - before.get(name, 0) for name in after}
            found.append((*answer, counts))
        return found[0], found[1]


async def call(
    app: ASGIApp,
    path: str,
    parts: Sequence[bytes],
    headers: list[tuple[bytes, bytes]],
    method: str = "POST",
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of one request, whose body comes in parts."""
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    if not any(name in {b"content-length", b"transfer-encoding"} for name, _ in headers):
        scope["headers"] = [*headers, (b"content-length", b"%d" % sum(map(len, parts)))]
    coming: list[Message] = [
        {"type": "http.request", "body": part, "more_body": n + 1 < len(parts)}
        for n, part in enumerate(parts)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return 0, [], b""
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], list(sent[0]["headers"]), body


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    state_dir = tmp_path_factory.mktemp("state")
    state_dir.chmod(0o700)
    chosen = ServerSettings(state_dir=state_dir)
    with asyncio.Runner() as runner:
        opening = open_services(chosen)
        services = runner.run(enter(opening))
        made = Both(services, chosen.token_path.read_text().strip())
        made.runner = runner
        runner.run(made.write())
        yield made
        services.pushes.close()
        runner.run(leave(opening))


async def enter(opening: Any) -> Services:
    opened: Services = await opening.__aenter__()
    return opened


async def leave(opening: Any) -> None:
    await opening.__aexit__(None, None, None)


DOMAINS = (
    *(f"{name}.example" for name in POLICIES),
    *("no.example", "words.example", "none.example", "direct.example", "mx.example"),
    *("keyed.example", "turned.example", "groups.example", "one.example", "A.B.example"),
    "else.example",
)
ADDRESSES = st.one_of(
    st.sampled_from(DOMAINS).map(lambda domain: f"Joe@{domain}"),
    st.sampled_from(
        ["", "joe", "@", "j@[192.0.2.9]", "j@[IPv6:2001:db8::9]", "j..x@a.example", "é@a.example"]
    ),
    st.sampled_from(["x" * 999 + "@a.example", "x@" + "a." * 600, '"q"@a.example', "a@b\n"]),
    st.text(max_size=8),
)
TEXTS = {
    "recipient": ADDRESSES,
    "sender": ADDRESSES,
    "client": st.sampled_from(["local", "192.0.2.7", "2001:db8::7", "::ffff:1.2.3.4", "x", ""]),
    "auth_user": st.sampled_from(["ann", "ANN", "o'x", "", "a b", "x" * 600]),
    "helo": st.sampled_from(["a.helo.example", "[192.0.2.1]", "-", "", "x" * 600]),
    "tag": st.sampled_from(["internal", "INTERNAL", "no tag", "", "x" * 600]),
}
OTHERS = {
    "draw": st.sampled_from([0, 7, -1, 1.0, True, 2**53]),
    "explain": st.booleans(),
    "mta": st.sampled_from(["nowhere", "Not A Name"]),
    "odd": st.just("x"),
}
PLAIN = st.one_of(
    st.sampled_from(DOMAINS).map(lambda domain: f"Joe.X@{domain}"),
    st.sampled_from(["", "ann@a.helo.example"]),
)
PAIRS = st.fixed_dictionaries({"recipient": PLAIN, "sender": PLAIN})
ANYTHING: st.SearchStrategy[Any] = st.sampled_from([None, 1, True, [], {}, "x", 1e400])


def mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda n: usual if n else ANYTHING)


ORDINARY = st.fixed_dictionaries(
    {"recipient": ADDRESSES}, optional={k: v for k, v in TEXTS.items() if k != "recipient"}
)
QUESTIONS = st.one_of(
    ORDINARY,
    ORDINARY,
    st.fixed_dictionaries(
        {}, optional={name: mostly(values) for name, values in (TEXTS | OTHERS).items()}
    ),
    ANYTHING,
)


@st.composite
def spelt(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> bytes:
    """JSON in one of its spellings, or what is nearly JSON."""
    ascii_only, indent = draw(st.booleans()), draw(st.sampled_from([None, None, 1]))
    marks = draw(st.sampled_from([(",", ":"), (", ", ": "), ("\t,", " : ")]))
    text = json.dumps(draw(values), ensure_ascii=ascii_only, indent=indent, separators=marks)
    octets = text.encode("utf-8", "surrogatepass")
    return draw(
        st.sampled_from(
            [
                *[octets] * 6,
                b" \n" + octets + b"\r\n",
                b"\xef\xbb\xbf" + octets,
                octets + b"x",
                octets[:-1],
                octets.replace(b'"sender"', b'"recipient"'),
                octets.replace(b"{", b'{"recipient":"a@b.example",', 1),
                octets.replace(b"e", b"\xff", 1),
                octets.replace(b"o", b"\\u006f"),
                octets.replace(b"o", b"\x01", 1),
            ]
        )
    )


KINDS = st.sampled_from(["application/json"] * 9 + ["application/json; charset=utf-8"])
BATCHES = st.one_of(
    st.fixed_dictionaries({"envelopes": st.lists(QUESTIONS, max_size=4)}),
    st.fixed_dictionaries({"envelopes": st.lists(ORDINARY, min_size=1, max_size=4)}),
    st.fixed_dictionaries({"envelopes": st.lists(PAIRS, min_size=1, max_size=20)}),
    st.fixed_dictionaries({"envelopes": st.lists(PAIRS | ORDINARY, min_size=1, max_size=4)}),
    st.fixed_dictionaries({"envelopes": ANYTHING}, optional={"odd": st.just(1)}),
    ANYTHING,
)
QUERIES = st.sampled_from(["", "?fields=brief", "?fields=full", "?fields=x", "?fields=brief&a=1"])
MANY = settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def agree(
    both: Both, path: str, parts: Sequence[bytes], more: dict[str, str]
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    hot, plain = both.runner.run(both.said(path, parts, both.headers(more)))
    assert hot == plain
    found: tuple[int, list[tuple[bytes, bytes]], bytes] = hot[:3]
    return found


@MANY
@given(body=spelt(QUESTIONS), kind=KINDS, cut=st.integers(0, 60))
def test_one_question_is_answered_alike(both: Both, body: bytes, kind: str, cut: int) -> None:
    parts = [body[:cut], body[cut:]] if cut % 3 == 0 else [body]
    agree(both, SINGLE, parts, {"content-type": kind})


@MANY
@given(body=spelt(BATCHES), query=QUERIES, cut=st.integers(0, 60))
def test_many_questions_are_answered_alike(both: Both, body: bytes, query: str, cut: int) -> None:
    parts = [body[:cut], body[cut:]] if cut % 3 == 0 else [body]
    agree(both, BATCH + query, parts, {"content-type": "application/json"})


@pytest.mark.parametrize("query", ["", "?fields=brief"])
def test_a_batch_draws_in_the_order_of_its_envelopes(both: Both, query: str) -> None:
    """But for hosts of a domain, of which chance decides when the DNS has answered."""
    domains = [domain for domain in DOMAINS if domain != "mx.example"]
    senders = [f"ann@{domain}" for domain in (*domains, *reversed(domains)) * 5]
    asked = [{"recipient": "joe@else.example", "sender": sender} for sender in senders]
    body = json.dumps({"envelopes": asked}).encode()
    before = both.hot.answered
    status, _, _ = agree(both, BATCH + query, [body], {"content-type": "application/json"})
    assert (status, both.hot.answered) == (200, before + 1)


@pytest.mark.parametrize("query", ["", "?fields=brief"])
def test_one_rule_leads_over_several_maps(both: Both, query: str) -> None:
    asked = [{"recipient": f"joe@{name}.example"} for name in ("keyed", "turned", "one") * 6]
    body = json.dumps({"envelopes": asked}).encode()
    status, _, _ = agree(both, BATCH + query, [body], {"content-type": "application/json"})
    assert status == 200


def test_what_was_spelt_is_bounded(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.server.api.hot._MOST_SPELT", 4)
    for sender in DOMAINS * 2:
        body = json.dumps({"recipient": "joe@else.example", "sender": f"ann@{sender}"}).encode()
        agree(both, SINGLE, [body], {"content-type": "application/json"})
        spelt = both.hot._quick._known
        assert spelt is not None
        assert len(spelt.ends) + len(spelt.routes) + len(spelt.urls) == spelt.kept <= 5


@MANY
@given(lines=st.lists(spelt(QUESTIONS), max_size=5), query=QUERIES, cut=st.integers(0, 200))
def test_lines_are_answered_alike(both: Both, lines: Sequence[bytes], query: str, cut: int) -> None:
    body = b"\n".join(lines)
    agree(both, BATCH + query, [body[:cut], body[cut:]], {"content-type": "application/x-ndjson"})


ORDINARY_ADDRESSES = st.from_regex(
    r"[A-Za-z0-9_+=-]{1,3}(\.[A-Za-z0-9=]{1,3}){0,2}@[A-Za-z0-9_]{1,3}(\.[a-zA-Z-]{1,3}){0,2}",
    fullmatch=True,
)
SPELT_BY = [(",", ":"), (", ", ": "), (",", ": ")]
SLIPS = [*'"@.,{}[] \t\n\\-', *"\xa0\x85\x0b\xe9"]


@st.composite
def nearly_of_the_form(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A body as most clients spell it, and whether something was put into it or taken out."""
    names = draw(st.permutations(["sender", "recipient"]))
    each = st.tuples(ORDINARY_ADDRESSES, ORDINARY_ADDRESSES)
    told = draw(st.lists(each, min_size=1, max_size=4))
    asked = [dict(zip(names, texts, strict=True)) for texts in told]
    text = json.dumps({"envelopes": asked}, separators=draw(st.sampled_from(SPELT_BY)))
    place, slip = draw(st.integers(0, len(text))), draw(st.sampled_from(SLIPS))
    how = draw(st.sampled_from(["as it is", "put in", "taken out", "twice", "turned"]))
    if how == "put in":
        text = text[:place] + slip + text[place:]
    elif how == "taken out":
        text = text[:place] + text[place + 1 :]
    elif how == "twice":
        text = text[: place + 9] + text[place:]
    elif how == "turned":
        text = text[:place] + text[place:].replace("sender", "recipient")
    return text.encode("latin-1"), how != "as it is"


@settings(max_examples=1000, deadline=None)
@given(nearly_of_the_form())
def test_what_is_taken_without_reading_json_is_what_json_says(given: tuple[bytes, bool]) -> None:
    body, has_slipped = given
    pairs = pairs_of(body)
    if pairs is None:
        assert has_slipped
        return
    ((name, told),) = json.loads(body, object_pairs_hook=list)
    assert name == "envelopes"
    envelopes = [pairs.envelope(number) for number in range(len(pairs))]
    assert [
        sorted((member, parse_mail_address(text)) for member, text in members) for members in told
    ] == [[("recipient", each.recipient), ("sender", each.sender)] for each in envelopes]


@pytest.mark.parametrize(
    "behind", [b"\xa0", b"\x85", b"\x0b", b"\x0c", b"\x1c", b"\0", b"]", b"{}"]
)
def test_what_json_has_not_at_its_end_is_not_taken(behind: bytes) -> None:
    body = b'{"envelopes":[{"recipient":"joe@else.example","sender":"ann@turns.example"}]}'
    assert pairs_of(body + b" \r\n\t") is not None
    assert pairs_of(body + behind) is None


def test_too_many_are_refused_alike(both: Both) -> None:
    asked = [{"sender": "ann@turns.example", "recipient": f"joe@d{n}.test"} for n in range(1001)]
    for count, status in ((1000, 200), (1001, 422)):
        body = json.dumps({"envelopes": asked[:count]}, separators=(",", ":")).encode()
        assert (pairs_of(body) is not None) == (status == 200)
        assert agree(both, BATCH, [body], {"content-type": "application/json"})[0] == status


GOOD = b'{"recipient":"joe@else.example","sender":"ann@turns.example"}'
MANY_GOOD = b'{"envelopes":[%s]}' % b",".join([GOOD] * 3)


@pytest.mark.parametrize(
    "more",
    [
        {"authorization": ""},
        {"authorization": "Basic eDp5"},
        {"authorization": "Bearer rly_" + "x" * 43},
        {"authorization": "Bearer \xe9"},
        {"host": "elsewhere.example"},
        {"host": "localhost:x"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-encoding": "gzip"},
        {"accept": "text/plain"},
        {"accept": "application/json"},
        {"content-length": "2000000"},
        {"x-request-id": "not one!"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [SINGLE, BATCH])
def test_every_refusal_is_the_same(both: Both, path: str, more: dict[str, str]) -> None:
    body = GOOD if path == SINGLE else MANY_GOOD
    given = {"content-type": "application/json"} | more
    hot, plain = both.runner.run(both.said(path, [body], both.headers(given)))
    if more == {"x-request-id": "not one!"}:
        assert hot[0] == plain[0] == 200
        assert [name for name, _ in hot[1]] == [name for name, _ in plain[1]]
        assert hot[2] == plain[2]
    else:
        assert hot == plain


def test_other_methods_paths_and_parameters_are_the_same(both: Both) -> None:
    kind = {"content-type": "application/json"}
    for path in (f"{SINGLE}?x=1", f"{SINGLE}/", f"{BATCH}/", f"{BATCH}?fields=few"):
        agree(both, path, [GOOD], kind)
    headers = both.headers(kind)
    for method in ("GET", "PUT", "HEAD"):
        said = [
            both.runner.run(call(app, BATCH, [GOOD], headers, method))
            for app in (both.hot, both.plain)
        ]
        assert said[0] == said[1]


def test_headers_that_come_twice_are_the_same(both: Both) -> None:
    for name in ("host", "authorization", "content-type", "accept", "x-request-id"):
        given = both.headers({"content-type": "application/json", "accept": "*/*"})
        twice = [*given, *(pair for pair in given if pair[0] == name.encode())]
        hot, plain = both.runner.run(both.said(SINGLE, [GOOD], twice))
        assert hot == plain


def test_a_body_that_ends_too_early_is_the_same(both: Both) -> None:
    headers = [*both.headers({"content-type": "application/json"}), (b"content-length", b"500")]

    async def cut(app: ASGIApp) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        return await call(app, SINGLE, [], headers)

    said = [both.runner.run(cut(app)) for app in (both.hot, both.plain)]
    assert said[0] == said[1]
    assert said[0][0] == 400


@pytest.mark.parametrize("path", [SINGLE, BATCH])
def test_a_body_that_is_longer_than_it_says_is_the_same(both: Both, path: str) -> None:
    body = (GOOD if path == SINGLE else MANY_GOOD) + b" " * MAX_BODY
    kind = {"content-type": "application/json", "content-length": "10"}
    assert agree(both, path, [body], kind)[0] == 413


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        (SINGLE, "application/json", GOOD),
        (SINGLE, "application/json", b'{"recipient":"joe@keyed.example"}'),
        (SINGLE, "application/json", b'{"recipient":"j@no.example","client":"192.0.2.7"}'),
        (BATCH, "application/json", MANY_GOOD),
        (f"{BATCH}?fields=brief", "application/json", MANY_GOOD),
        (f"{BATCH}?fields=brief", "application/x-ndjson", GOOD + b"\n"),
    ],
)
def test_what_is_ordinary_is_answered_in_front(
    both: Both, path: str, kind: str, body: bytes
) -> None:
    headers = both.headers({"content-type": kind})
    both.runner.run(call(both.plain, SINGLE, [GOOD], headers))  # the token is known from here on
    before = both.hot.answered
    agree(both, path, [body], {"content-type": kind})
    assert both.hot.answered == before + 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"recipient":"j@a.example","explain":true}',
        b'{"recipient":"j@a.example","mta":"mx-1"}',
        b'{"recipient":"j@a.example","recipient":"j@a.example"}',
        b'{"recipient":"j@mx.example","sender":"a@mx.example"}',
        b'{"recipient":"nothing"}',
        b"{}",
    ],
)
def test_what_is_not_ordinary_goes_on(both: Both, body: bytes) -> None:
    before = both.hot.answered
    agree(both, SINGLE, [body], {"content-type": "application/json"})
    assert both.hot.answered == before


def test_both_count_alike(both: Both) -> None:
    """Each question and each request once, whoever answers it."""
    names = ("relaymap_resolve_", "relaymap_http_requests_total", "relaymap_http_request_seconds_c")
    grown = []
    for app in (both.hot, both.plain):
        counts = [_counted(both.services, names)]
        for path, body in ((SINGLE, GOOD), (BATCH, MANY_GOOD), (BATCH, MANY_GOOD)):
            headers = both.headers({"content-type": "application/json"})
            both.runner.run(call(app, path, [body], headers))
        counts.append(_counted(both.services, names))
        grown.append({name: counts[1][name] - counts[0].get(name, 0) for name in counts[1]})
    assert grown[0] == grown[1]
    assert grown[0]['relaymap_resolve_total{outcome="relay"}'] == 7


def _counted(services: Services, names: tuple[str, ...]) -> dict[str, float]:
    rows = services.metrics.text().decode().splitlines()
    found = dict(row.rsplit(" ", 1) for row in rows if row.startswith(names))
    return {
        name: float(value)
        for name, value in found.items()
        if "_bucket" not in name and "_sum" not in name and "_created" not in name
    }


MX, OTHER = "ann@mx.example", "ann@turns.example"


@pytest.mark.parametrize("query", ["", "?fields=brief"])
@pytest.mark.parametrize("senders", [[MX], [MX] * 250, [OTHER] * 100 + [MX], [MX] + [OTHER] * 150])
def test_a_batch_over_hosts_that_the_dns_knows(
    both: Both, senders: Sequence[str], query: str
) -> None:
    """None of these is answered from memory; and what comes next is answered as ever."""
    asked = [{"recipient": "joe@else.example", "sender": sender} for sender in senders]
    body = json.dumps({"envelopes": asked}).encode()
    for content in (body, b"{", MANY_GOOD):
        agree(both, BATCH + query, [content], {"content-type": "application/json"})
    agree(both, SINGLE, [GOOD], {"content-type": "application/json"})


def test_others_are_served_between_envelopes_that_take_their_time(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that no column leads, and those whose relay hangs on a hash."""
    monkeypatch.setattr("app.server.api.hot.SLICE_S", 0)
    both.runner.run(both.put("rules/alone", ALONE))
    for sender in ("ann@alone.example", "ann@keyed.example"):
        asked = [{"recipient": "joe@else.example", "sender": sender}] * 90
        body = json.dumps({"envelopes": asked}).encode()
        turns = both.runner.run(_turns_of(both, body))
        assert turns > 90


ALONE = {
    "match": {"senders": ["alone.example"], "not": {"recipients": ["joe@elsewhere.example"]}},
    "action": {"kind": "relay", "via": "smtp://alone.example"},
}


async def _turns_of(both: Both, body: bytes) -> int:
    """How often others come to run until a batch is answered."""
    headers = both.headers({"content-type": "application/json"})
    path = f"{BATCH}?fields=brief"
    asking = asyncio.ensure_future(call(both.hot, path, [body], headers))
    turns = 0
    while not asking.done():
        turns += 1
        await asyncio.sleep(0)
    assert (await asking)[0] == 200
    return turns


def test_a_routing_is_kept_by_nobody_though_it_was_replaced_during_a_batch(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.api.hot.SLICE_S", 0)
    asked = [{"recipient": f"u{n}@else.example", "sender": OTHER} for n in range(1000)]
    body = json.dumps({"envelopes": asked}).encode()
    both.runner.run(both.put("tables/domains/entries/before.example", {"via": "mx"}))
    table = ref(both.services.live.current().table)

    async def replaced_meanwhile() -> None:
        headers = both.headers({"content-type": "application/json"})
        batch = asyncio.ensure_future(call(both.hot, BATCH, [body], headers))
        await asyncio.sleep(0)
        number = both.services.live.current().table.revision
        await both.put("tables/domains/entries/meanwhile.example", {"via": "mx"})
        assert both.services.live.current().table.revision == number + 1
        await batch

    both.runner.run(replaced_meanwhile())
    assert table() is None


def test_a_routing_that_was_asked_is_kept_by_nobody(both: Both) -> None:
    """With its entries, which may be millions, it goes as soon as it is no longer the newest."""
    agree(both, SINGLE, [GOOD], {"content-type": "application/json"})
    asked = ref(both.services.live.current().table)
    both.runner.run(both.put("tables/domains/entries/let-go.example", {"via": "mx"}))
    assert asked() is None
