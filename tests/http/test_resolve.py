"""Questions: where would this envelope go."""

from collections import Counter

import httpx
import pytest

from app.server.api.services import Services
from tests.http.agents import Agent
from tests.http.conftest import Clock
from tests.http.samples import PLAIN_MAP, RELAY_MAP, RULE, bearer, head, made, pointers, shop

pytestmark = pytest.mark.anyio

QUESTION = {"recipient": "joe@example.net", "sender": "ann@shop.example"}


async def ask(api: httpx.AsyncClient, **question: object) -> dict[str, object]:
    answer = await api.post("/v1/resolve", json=QUESTION | question)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


async def test_a_route_says_everything(api: httpx.AsyncClient) -> None:
    await shop(api)
    await made(
        api,
        "rules/local-only",
        {
            "priority": 1,
            "match": {"recipients": ["local.example"]},
            "action": {"kind": "reject"},
        },
    )
    found = await ask(api, draw=0, explain=True)
    transport = {
        "protocol": "smtp",
        "tls": "starttls",
        "verify": True,
        "credential": "acct",
        "certificate": None,
        "ca": None,
        "sources": [],
        "helo": None,
    }
    first = {
        "relay": "mx1",
        "share": 0.75,
        "mx": {"host": "mx1.example.net", "port": 587},
        "transport": transport,
        "url": "tls+auth://acct@mx1.example.net:587",
    }
    second = {
        "relay": "mx2",
        "share": 0.25,
        "mx": {"host": "mx2.example.net", "port": 465},
        "transport": transport | {"tls": "smtps", "credential": None},
        "url": "smtps://mx2.example.net",
    }
    assert found == {
        "outcome": "relay",
        "revision": 4,
        "rule": "shop-out",
        "table": None,
        "relay_map": "mxmap",
        "relay": "mx1",
        "mx": first["mx"],
        "transport": transport,
        "url": first["url"],
        "mail_from": "ann@shop.example",
        "because": None,
        "retry_after_s": None,
        "candidates": [first, second],
        "trace": [
            {"rule": "local-only", "matched": False, "because": "recipients"},
            {"rule": "shop-out", "matched": True, "because": None},
        ],
    }


async def test_get_and_post_are_the_same_question(api: httpx.AsyncClient) -> None:
    await shop(api)
    question = {**QUESTION, "client": "local", "tag": "in", "draw": 3, "explain": True}
    posted = await api.post("/v1/resolve", json=question)
    params = {**question, "explain": "true"}
    got = await api.get("/v1/resolve", params=params)  # type: ignore[arg-type]
    assert (got.status_code, got.json()) == (200, posted.json())


async def test_repeated_questions_see_what_repeated_messages_would(
    api: httpx.AsyncClient,
) -> None:
    await shop(api)
    seen = Counter([(await ask(api))["relay"] for _ in range(8)])
    assert seen == {"mx1": 6, "mx2": 2}


async def test_a_draw_fixes_the_answer_and_moves_no_turn(api: httpx.AsyncClient) -> None:
    await made(api, "relay-maps/mxmap", PLAIN_MAP)
    await made(api, "rules/r", {"action": {"kind": "relay", "via": "map:mxmap"}})
    assert [(await ask(api, draw=n))["relay"] for n in range(4)] == [
        "a.example",
        "b.example",
        "a.example",
        "b.example",
    ]
    assert {(await ask(api, draw=5))["relay"] for _ in range(3)} == {"b.example"}
    assert [(await ask(api))["relay"] for _ in range(2)] == ["a.example", "b.example"]


async def test_the_turn_goes_on_over_an_edit(api: httpx.AsyncClient) -> None:
    await made(api, "relay-maps/mxmap", PLAIN_MAP)
    await made(api, "rules/r", {"action": {"kind": "relay", "via": "map:mxmap"}})
    first = (await ask(api))["relay"]
    await made(api, "relay-maps/mxmap", PLAIN_MAP | {"description": "new"})
    assert {first, (await ask(api))["relay"]} == {"a.example", "b.example"}


async def test_random_draws_differ_and_cover_all(api: httpx.AsyncClient) -> None:
    await made(api, "relay-maps/mxmap", PLAIN_MAP | {"policy": "random"})
    await made(api, "rules/r", {"action": {"kind": "relay", "via": "map:mxmap"}})
    seen = Counter([(await ask(api, draw=n))["relay"] for n in range(200)])
    assert set(seen) == {"a.example", "b.example"}
    assert min(seen.values()) > 60


async def test_other_outcomes_say_why_in_a_sentence(api: httpx.AsyncClient) -> None:
    await shop(api)
    await made(
        api,
        "rules/no",
        {
            "priority": 1,
            "match": {"recipients": ["no.example"]},
            "action": {"kind": "reject", "message": "not today"},
        },
    )
    for relay in ("mx1", "mx2"):
        await made(api, f"relay-maps/mxmap/relays/{relay}/state", {"state": "out"})
    rejected = await ask(api, recipient="a@no.example")
    assert (rejected["outcome"], rejected["rule"]) == ("reject", "no")
    assert "not today" in str(rejected["because"])
    later = await ask(api)
    assert (later["outcome"], later["relay_map"]) == ("try-again", "mxmap")
    assert later["because"]
    unrouted = await ask(api, sender="x@other.example")
    assert (unrouted["outcome"], unrouted["rule"]) == ("unrouted", None)
    never = await ask(api, recipient='"a b"@example.org')
    assert never["outcome"] == "undeliverable"
    for found in (rejected, later, unrouted, never):
        assert found["because"]
        for name in ("relay", "mx", "transport", "url", "mail_from", "candidates", "trace"):
            assert found[name] is None


@pytest.mark.parametrize(
    ("question", "line"),
    [
        ({}, "relay tls+auth://acct@mx1.example.net:587"),
        ({"recipient": "a@no.example"}, "reject"),
        ({"sender": "a@other.example"}, "unrouted"),
        ({"recipient": "nobody"}, "undeliverable bad-address"),
        ({"recipient": "joe@[192.0.2.7]", "sender": ""}, "relay smtp://192.0.2.7:25"),
    ],
)
async def test_text_is_one_line(
    api: httpx.AsyncClient, question: dict[str, str], line: str
) -> None:
    await shop(api)
    no = {"priority": 1, "match": {"recipients": ["no.example"]}, "action": {"kind": "reject"}}
    await made(api, "rules/no", no)
    null = {"match": {"senders": ["<>"]}, "action": {"kind": "relay", "via": "mx"}}
    await made(api, "rules/bounces", null)
    params = QUESTION | question | {"draw": "0"}
    answer = await api.get("/v1/resolve", params=params, headers={"Accept": "text/plain"})
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == f"{line}\n"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", "application/json"),
        ("text/html, */*", "application/json"),
        ("text/plain;q=0.5, application/json", "application/json"),
        ("text/plain, application/json;q=0.9", "text/plain"),
        ("text/plain;q=0", "application/json"),
        ("text/*", "text/plain"),
        ("nonsense;q=x", "application/json"),
    ],
)
async def test_the_accept_header_chooses(api: httpx.AsyncClient, accept: str, form: str) -> None:
    answer = await api.get("/v1/resolve?recipient=a@b.example", headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith(form)
    assert answer.headers["Vary"] == "Accept"


async def test_an_mta_knows_its_own_addresses(api: httpx.AsyncClient) -> None:
    await shop(api)
    agent = await Agent.of(api, "mx-out-1")
    await api.post("/v1/pushes")
    await agent.apply()
    await agent.tell(addresses=["192.0.2.9", "2001:db8::9"])
    assert (await ask(api, client="192.0.2.9"))["outcome"] == "unrouted"
    assert (await ask(api, client="192.0.2.9", mta="mx-out-1"))["outcome"] == "relay"
    assert (await ask(api, client="192.0.2.8", mta="mx-out-1"))["outcome"] == "unrouted"
    assert (await ask(api, client="127.0.0.1"))["outcome"] == "relay"
    unknown = await api.post("/v1/resolve", json=QUESTION | {"mta": "none"})
    assert unknown.status_code == 404


async def test_an_mta_answers_by_the_revision_in_force_there(api: httpx.AsyncClient) -> None:
    await shop(api)
    first = await Agent.of(api, "mx-out-1")
    second = await Agent.of(api, "mx-out-2")
    await api.post("/v1/pushes")
    served = (await first.apply()).revision
    await made(api, "relay-maps/mxmap", PLAIN_MAP)
    await made(api, "relay-maps/mxmap/relays/b.example/state", {"state": "out"})
    await api.post("/v1/pushes", json={"mtas": ["mx-out-2"]})
    await second.apply()
    newest = await head(api)
    await made(api, "rules/other", {"match": {"tags": ["x"]}, "action": {"kind": "reject"}})
    for _ in range(2):
        old = await ask(api, mta="mx-out-1", draw=0)
        assert (old["revision"], old["relay"]) == (served, "mx1")
        new = await ask(api, mta="mx-out-2", draw=1)
        assert (new["revision"], new["relay"]) == (newest, "a.example")
    assert (await ask(api, draw=1))["revision"] == await head(api)
    await api.post("/v1/pushes")
    await first.apply()
    now = await ask(api, mta="mx-out-1", draw=1)
    assert (now["revision"], now["relay"]) == (await head(api), "a.example")


async def test_a_relay_that_is_down_at_an_mta_gets_nothing_there(
    api: httpx.AsyncClient, clock: Clock
) -> None:
    await shop(api)
    agent, other = await Agent.of(api, "mx-out-1"), await Agent.of(api, "mx-out-2")
    await api.post("/v1/pushes")
    await agent.apply()
    await other.apply()
    down = {"relay_map": "mxmap", "relay": "mx1", "state": "down", "since": 1, "cause": "refused"}
    await agent.tell(live=True, relays=[down])

    async def relays(**question: object) -> list[tuple[object, object]]:
        candidates = (await ask(api, draw=0, **question))["candidates"]
        assert isinstance(candidates, list)
        return [(each["relay"], each["share"]) for each in candidates]

    both = [("mx1", 0.75), ("mx2", 0.25)]
    assert await relays(mta="mx-out-1") == [("mx2", 1.0)]
    assert await relays(mta="mx-out-2") == await relays() == both
    await agent.tell(live=True, relays=[down, down | {"relay": "mx2"}])
    assert await relays(mta="mx-out-1") == both, "all down is as good as none"
    await agent.tell(live=False, relays=[down])
    assert await relays(mta="mx-out-1") == both, "static files know no health"
    await agent.tell(live=True, relays=[down])
    clock.move(seconds=90)
    assert await relays(mta="mx-out-1") == [("mx2", 1.0)]
    clock.move(seconds=1)
    assert await relays(mta="mx-out-1") == both, "nobody has said so of late"


async def test_an_mta_that_confirmed_nothing_is_no_answer(api: httpx.AsyncClient) -> None:
    await made(api, "relay-maps/mxmap", PLAIN_MAP)
    await made(api, "rules/shop-out", RULE)
    agent = await Agent.of(api, "mx-out-1")

    async def refused() -> str:
        answer = await api.post("/v1/resolve", json=QUESTION | {"mta": "mx-out-1"})
        assert (answer.status_code, answer.json()["code"]) == (409, "nothing-confirmed")
        return str(answer.json()["detail"])

    assert "no agent has reported" in await refused()
    await agent.tell()
    assert "push to it" in await refused()
    await api.post("/v1/pushes")
    await agent.apply()
    assert (await ask(api, mta="mx-out-1"))["outcome"] == "relay"
    assert agent.observed is not None
    agent.observed = agent.observed.model_copy(update={"history": "another"})
    await agent.tell()
    assert "another history" in await refused()
    agent.observed = agent.observed.model_copy(
        update={"history": (await status(api))["wanted"]["history"], "revision": 99}
    )
    await agent.tell()
    assert "does not have" in await refused()


async def test_an_mta_on_a_pruned_revision_says_so(
    api: httpx.AsyncClient, services: Services, clock: Clock
) -> None:
    await shop(api)
    agent = await Agent.of(api, "mx-out-1")
    await api.post("/v1/pushes")
    await agent.apply()
    await made(api, "relay-maps/mxmap", PLAIN_MAP)
    await made(api, "relay-maps/mxmap", RELAY_MAP)
    await api.post("/v1/pushes")  # what an MTA is to serve is kept, and this one lags behind
    clock.move(days=1)
    await services.store.prune(1, clock())
    answer = await api.get("/v1/resolve", params={**QUESTION, "mta": "mx-out-1"})
    assert (answer.status_code, answer.json()["code"]) == (410, "revision-pruned")


async def status(api: httpx.AsyncClient) -> dict[str, dict[str, object]]:
    answer = await api.get("/v1/mtas/mx-out-1/status")
    found: dict[str, dict[str, object]] = answer.json()
    return found


async def test_a_question_stores_nothing_and_needs_its_scope_alone(
    api: httpx.AsyncClient,
) -> None:
    await shop(api)
    before = await head(api)
    asker = await bearer(api, "resolve")
    assert (await api.post("/v1/resolve", json=QUESTION, headers=asker)).status_code == 200
    assert (await api.get("/v1/rules", headers=asker)).status_code == 403
    reader = await bearer(api, "routing:read")
    assert (await api.post("/v1/resolve", json=QUESTION, headers=reader)).status_code == 403
    assert await head(api) == before


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("draw", "1", "bad-type"),
        ("draw", 1.0, "bad-type"),
        ("draw", True, "bad-type"),
        ("draw", -1, "out-of-range"),
        ("draw", 2**53, "out-of-range"),
        ("explain", "true", "bad-type"),
        ("explain", 1, "bad-type"),
        ("sender", None, "bad-type"),
        ("recipient", ["a@b.example"], "bad-type"),
        ("recipient", "a" * 1001, "bad-text"),
        ("mta", "UP", "bad-name"),
    ],
)
async def test_what_is_no_question_is_refused(
    api: httpx.AsyncClient, member: str, value: object, code: str
) -> None:
    answer = await api.post("/v1/resolve", json=QUESTION | {member: value})
    assert pointers(answer) == [("body", f"/{member}", code)]


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("", "/recipient", "missing"),
        ("recipient=a@b.example&draw=1.0", "/draw", "bad-type"),
        ("recipient=a@b.example&draw=+1", "/draw", "bad-type"),
        ("recipient=a@b.example&draw=-1", "/draw", "out-of-range"),
        ("recipient=a@b.example&draw=1_0", "/draw", "bad-type"),
        ("recipient=a@b.example&explain=1", "/explain", "bad-type"),
        ("recipient=a@b.example&explain=True", "/explain", "bad-type"),
        ("recipient=a@b.example&client=any", "/client", "bad-client"),
        ("recipient=a@b.example&recipient=c@d.example", "/recipient", "given-twice"),
        ("recipient=a@b.example&colour=red", "", "unknown-parameter"),
    ],
)
async def test_parameters_are_as_strict_as_bodies(
    api: httpx.AsyncClient, query: str, pointer: str, code: str
) -> None:
    answer = await api.get(f"/v1/resolve?{query}")
    assert pointers(answer) == [("query", pointer, code)]
    assert "red" not in answer.json()["detail"]


async def test_what_is_asked_is_counted_by_outcome(
    api: httpx.AsyncClient, services: object
) -> None:
    await made(api, "relay-maps/mxmap", RELAY_MAP | {"relays": [{"url": "smtp://a.example"}]})
    await ask(api)
    text = (await api.get("/metrics")).text
    assert 'relaymap_resolve_total{outcome="unrouted"} 1.0' in text
    assert "relaymap_resolve_seconds_count 1.0" in text
