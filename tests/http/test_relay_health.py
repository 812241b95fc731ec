"""How relays look from each MTA, and whether one that is out can be deleted."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app.server.api.services import Services
from app.server.fleet import Fleet
from app.wire import LineState, MtaState
from tests.http.agents import Agent
from tests.http.conftest import Clock
from tests.http.samples import PLAIN_MAP, bearer, made, pointers, shop

pytestmark = pytest.mark.anyio

HEALTH = "/v1/relay-maps/mxmap/health"
NOT_YET = "it has not served the relay as out for a whole minute: wait, and push if need be"
QUIET: dict[str, Any] = {"sessions": 0, "envelopes": 0, "quiet_since": 1}


def seen(relay: str, state: str = "up", **more: Any) -> dict[str, object]:
    """What an agent says of one relay."""
    return {"relay_map": "mxmap", "relay": relay, "state": state, "since": 1_700_000_000, **more}


async def health(api: httpx.AsyncClient, relay: str = "mx1") -> dict[str, Any]:
    """One relay of the map, and what each MTA sees of it by name."""
    answer = await api.get(HEALTH, params={"relay": relay})
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["relays"]
    return {**found, "mtas": {each["mta"]: each for each in found["mtas"]}}


async def out(
    api: httpx.AsyncClient, relay: str = "mx1", state: str = "out", reason: str = ""
) -> None:
    body = {"state": state, "reason": reason}
    await made(api, f"relay-maps/mxmap/relays/{relay}/state", body)


async def push(api: httpx.AsyncClient, *agents: Agent) -> None:
    assert (await api.post("/v1/pushes")).status_code == 202
    for agent in agents:
        await agent.apply()


class Draining:
    """mx1 of a map is out, and one MTA, which asks the table program, serves that for a minute."""

    def __init__(self, api: httpx.AsyncClient, agent: Agent, clock: Clock) -> None:
        self.api, self.agent, self.clock = api, agent, clock

    @classmethod
    async def of(cls, api: httpx.AsyncClient, clock: Clock) -> "Draining":
        await shop(api)
        agent = await Agent.of(api, "mx-out-1")
        agent.version = None  # what a version can do is not asked here
        await out(api)
        await push(api, agent)
        clock.move(seconds=60)
        return cls(api, agent, clock)

    async def tell(self, *relays: dict[str, object], **more: Any) -> dict[str, Any]:
        """What is said of mx1 once the agent has said this."""
        said: dict[str, Any] = {"live": True, "relays": relays, **more}
        answer = await self.agent.tell(**said)
        assert answer.status_code == 204, answer.text
        return await self.seen()

    async def tell_quiet(self, *others: Agent) -> None:
        for agent in (self.agent, *others):
            answer = await agent.tell(live=True, relays=[seen("mx1", **QUIET)])
            assert answer.status_code == 204, answer.text

    async def seen(self) -> dict[str, Any]:
        found = await health(self.api)
        view: dict[str, Any] = found["mtas"]["mx-out-1"]
        assert found["safe_to_delete"] is view["safe_to_delete"]
        assert bool(view["detail"]) is not view["safe_to_delete"]
        return view


@pytest.fixture
async def draining(api: httpx.AsyncClient, clock: Clock) -> Draining:
    return await Draining.of(api, clock)


# --- health -----------------------------------------------------------------------------------


async def test_each_relay_is_seen_by_each_mta(api: httpx.AsyncClient, clock: Clock) -> None:
    await shop(api)
    first, second = await Agent.of(api, "mx-out-1"), await Agent.of(api, "mx-out-2")
    down = seen("mx1", "down", cause="auth-refused", reply=535, sessions=2, envelopes=7)
    gone = seen("gone") | {"relay_map": "elsewhere"}
    await first.tell(live=True, relays=[down, seen("mx2", **QUIET), seen("gone"), gone])
    await second.tell(live=True, relays=[seen("mx2", "unknown")])
    answer = await api.get(HEALTH)
    assert answer.text.endswith("}\n")
    assert "ETag" not in answer.headers
    shown = answer.json()
    assert shown["relay_map"] == "mxmap"
    assert [(each["relay"], each["state"]) for each in shown["relays"]] == [
        ("mx1", "active"),
        ("mx2", "active"),
    ]
    mx1, mx2 = (each["mtas"] for each in shown["relays"])
    at = clock.now.isoformat().replace("+00:00", "Z")
    assert mx1[0] == {
        "mta": "mx-out-1",
        "health": "down",
        "since": "2023-11-14T22:13:20Z",
        "cause": "auth-refused",
        "reply": 535,
        "sessions": 2,
        "envelopes": 7,
        "quiet_since": None,
        "revision": None,
        "seen_at": at,
        "safe_to_delete": None,
        "detail": "",
    }
    assert (mx1[1]["health"], mx1[1]["since"]) == ("unknown", None)
    assert "does not say" in mx1[1]["detail"]
    assert (mx2[0]["health"], mx2[0]["quiet_since"]) == ("up", "1970-01-01T00:00:01Z")
    assert (mx2[1]["health"], mx2[1]["since"]) == ("unknown", mx1[0]["since"])
    assert [each["safe_to_delete"] for each in shown["relays"]] == [False, False]


async def test_an_mta_that_says_nothing_sees_nothing(api: httpx.AsyncClient, clock: Clock) -> None:
    await shop(api)
    assert (await health(api))["mtas"] == {}
    agent = await Agent.of(api, "mx-out-1")

    async def view() -> tuple[str, str]:
        found = (await health(api))["mtas"]["mx-out-1"]
        return found["health"], found["detail"]

    assert await view() == ("unknown", "no agent has reported for this MTA yet")
    await agent.tell(live=False, relays=[seen("mx1")])
    assert await view() == ("unknown", "it does not ask the table program, and sees no relays")
    await agent.tell(live=True, relays=[seen("mx1")])
    assert await view() == ("up", "")
    clock.move(seconds=90)
    assert await view() == ("up", "")
    clock.move(seconds=1)
    assert await view() == ("unknown", "its agent has fallen silent")


async def test_times_outside_any_calendar_are_none(api: httpx.AsyncClient) -> None:
    await shop(api)
    agent = await Agent.of(api, "mx-out-1")
    await agent.tell(live=True, relays=[seen("mx1", quiet_since=2**53) | {"since": 2**53}])
    found = (await health(api))["mtas"]["mx-out-1"]
    assert (found["health"], found["since"], found["quiet_since"]) == ("up", None, None)


async def test_health_is_asked_as_everything_is(api: httpx.AsyncClient) -> None:
    await shop(api)
    absent = await api.get("/v1/relay-maps/none/health")
    assert (absent.status_code, absent.json()["code"]) == (404, "not-found")
    assert pointers(await api.get(f"{HEALTH}?mta=x")) == [("query", "", "unknown-parameter")]
    assert pointers(await api.get(f"{HEALTH}?relay=a@b")) == [("query", "/relay", "bad-label")]
    assert (await api.get(f"{HEALTH}?relay=none")).json()["relays"] == []
    headed = await api.head(HEALTH)
    assert (headed.status_code, headed.content) == (200, b"")
    refused = await api.put(HEALTH, json={})
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
    other = await bearer(api, "resolve")
    assert (await api.get(HEALTH, headers=other)).status_code == 403
    reader = await bearer(api, "routing:read")
    assert (await api.get(HEALTH, headers=reader)).status_code == 200


async def test_a_map_that_is_all_down_somewhere_is_a_finding(
    api: httpx.AsyncClient, clock: Clock
) -> None:
    await shop(api)
    agent = await Agent.of(api, "mx-out-1")
    await Agent.of(api, "mx-out-2")
    agent.version = None  # what a version can do is not asked here

    async def found() -> list[tuple[str, str, str | None]]:
        every = (await api.get("/v1/findings")).json()["items"]
        beside = (await api.get("/v1/relay-maps/mxmap")).json()["findings"]
        assert [f for f in every if f["subject"] == "relay-maps/mxmap"] == beside
        return [(f["severity"], f["code"], f["mta"]) for f in beside]

    both = [seen("mx1", "down"), seen("mx2", "down"), seen("gone", "down")]
    assert await found() == []
    await agent.tell(live=True, relays=[*both[:1], seen("mx2")])
    assert await found() == []
    await agent.tell(live=True, relays=both)
    assert await found() == [("warning", "all-down", "mx-out-1")]
    written = await made(api, "rules/x", {"action": {"kind": "reject"}})
    listed = (await api.get("/v1/findings")).json()["items"]
    assert int(written.headers["Relay-Findings"]) == len(listed)
    await out(api, "mx2")
    await agent.tell(live=True, relays=[seen("mx1", "down"), seen("mx2")])
    assert await found() == [("warning", "all-down", "mx-out-1")], "of those in service"
    await out(api, "mx1")
    assert await found() == [("warning", "all-out", None)]
    await out(api, "mx1", "active")
    clock.move(seconds=91)
    assert await found() == [], "nobody has said so of late"


async def test_health_is_measured_where_it_is_known(api: httpx.AsyncClient, clock: Clock) -> None:
    await shop(api)
    agent = await Agent.of(api, "mx-out-1")
    static = await Agent.of(api, "mx-out-2")

    async def measured() -> list[str]:
        text = (await api.get("/metrics")).text
        return [line for line in text.splitlines() if line.startswith("relaymap_relay_up{")]

    await static.tell(relays=[seen("mx1")])
    await agent.tell(live=True, relays=[seen("mx1"), seen("mx2", "down"), seen("gone")])
    labels = 'relaymap_relay_up{mta="mx-out-1",relay="mx%d",relay_map="mxmap"} %s'
    assert await measured() == [labels % (1, "1.0"), labels % (2, "0.0")]
    await agent.tell(live=True, relays=[seen("mx1", "unknown"), seen("mx2")])
    assert await measured() == [labels % (2, "1.0")]
    clock.move(seconds=91)
    assert await measured() == []


async def test_the_status_says_who_asks_the_table_program(api: httpx.AsyncClient) -> None:
    agent = await Agent.of(api, "mx-out-1")
    for live in (None, True, False):
        if live is not None:
            await agent.tell(live=live)
        status = (await api.get("/v1/mtas/mx-out-1/status")).json()
        assert status["live"] is bool(live)


# --- draining ---------------------------------------------------------------------------------


async def test_a_relay_that_is_out_and_quiet_can_go(draining: Draining) -> None:
    view = await draining.tell(seen("mx1", **QUIET))
    assert (view["safe_to_delete"], view["detail"]) == (True, "")
    assert (view["sessions"], view["envelopes"]) == (0, 0)
    beside = await health(draining.api, "mx2")
    assert (beside["state"], beside["safe_to_delete"]) == ("active", False)
    assert beside["mtas"]["mx-out-1"]["safe_to_delete"] is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"sessions": 1, "envelopes": 0, "quiet_since": 1}, "sessions that are open: 1"),
        ({"sessions": 0, "envelopes": 3, "quiet_since": 1}, "envelopes that wait for it: 3"),
        ({"sessions": 0, "envelopes": 0}, "less than a minute"),
        ({"envelopes": 0, "quiet_since": 1}, "is not known"),
        ({"sessions": 0, "quiet_since": 1}, "is not known"),
        ({}, "is not known"),
    ],
)
async def test_what_is_held_for_a_relay_keeps_it(
    draining: Draining, said: dict[str, Any], why: str
) -> None:
    view = await draining.tell(seen("mx1", **said))
    assert not view["safe_to_delete"]
    assert why in view["detail"]


async def test_quiet_is_a_whole_minute_by_the_last_report(draining: Draining) -> None:
    now = int(draining.clock.now.timestamp()) + 1
    draining.clock.now = datetime.fromtimestamp(now, UTC)
    quiet = {**QUIET, "quiet_since": now - 59}
    assert not (await draining.tell(seen("mx1", **quiet)))["safe_to_delete"]
    draining.clock.move(seconds=30)
    assert not (await draining.seen())["safe_to_delete"], "nobody has looked since"
    assert (await draining.tell(seen("mx1", **quiet)))["safe_to_delete"]


@pytest.mark.parametrize(
    "more",
    [
        {"live": False},
        {"relays": []},
        {"state": MtaState.DRIFTED},
        {"state": MtaState.STOPPED},
        {"state": MtaState.UNKNOWN},
        {"observed": None},
    ],
)
async def test_an_mta_that_does_not_know_is_no_yes(
    draining: Draining, more: dict[str, Any]
) -> None:
    assert (await draining.tell(seen("mx1", **QUIET)))["safe_to_delete"]
    assert not (await draining.tell(seen("mx1", **QUIET), **more))["safe_to_delete"]


async def test_a_silent_mta_is_no_yes(draining: Draining) -> None:
    await draining.tell(seen("mx1", **QUIET))
    draining.clock.move(seconds=91)
    view = await draining.seen()
    assert not view["safe_to_delete"]
    assert view["detail"] == "its agent has fallen silent"


async def test_every_mta_has_to_agree(draining: Draining) -> None:
    await draining.tell(seen("mx1", **QUIET))
    await Agent.of(draining.api, "mx-out-2")
    found = await health(draining.api)
    each = {mta: view["safe_to_delete"] for mta, view in found["mtas"].items()}
    assert (found["safe_to_delete"], each) == (False, {"mx-out-1": True, "mx-out-2": False})
    await draining.api.delete("/v1/mtas/mx-out-2")
    assert (await health(draining.api))["safe_to_delete"]
    await draining.api.delete("/v1/mtas/mx-out-1")
    found = await health(draining.api)
    assert (found["safe_to_delete"], found["mtas"]) == (False, {}), "nobody says so"


async def test_the_minute_begins_with_the_first_report(
    draining: Draining, services: Services
) -> None:
    """What was served before is not known: of a new MTA, or after a start of the server."""
    await draining.tell(seen("mx1", **QUIET))
    second = await Agent.of(draining.api, "mx-out-2")
    second.version = None
    await push(draining.api, second, draining.agent)

    async def safe() -> bool:
        await draining.tell_quiet(second)
        return bool((await health(draining.api))["safe_to_delete"])

    assert not await safe()
    draining.clock.move(seconds=59)
    assert not await safe()
    draining.clock.move(seconds=1)
    assert await safe()
    assert services.fleet.last_minute("mx-out-2") is not None
    assert (await Fleet.start(services.store)).last_minute("mx-out-2") is None


async def test_an_mta_that_was_not_told_yet_is_no_yes(draining: Draining) -> None:
    """mx2 is out for the server, and not for the MTA, however quiet it is there."""
    await out(draining.api, "mx2")

    async def safe() -> tuple[bool, str]:
        await draining.tell(seen("mx1", **QUIET), seen("mx2", **QUIET))
        found = (await health(draining.api, "mx2"))["mtas"]["mx-out-1"]
        return found["safe_to_delete"], found["detail"]

    for _ in range(3):
        assert await safe() == (False, NOT_YET)
        assert (await draining.seen())["safe_to_delete"], "mx1 is out in both"
        draining.clock.move(seconds=60)
    await push(draining.api, draining.agent)
    assert not (await safe())[0], "a delivery may have begun a moment before"
    draining.clock.move(seconds=59)
    assert not (await safe())[0]
    draining.clock.move(seconds=1)
    assert await safe() == (True, "")


async def test_a_relay_that_is_to_come_back_there_is_no_yes(draining: Draining) -> None:
    await draining.tell(seen("mx1", **QUIET))
    await out(draining.api, state="active")
    await draining.api.post("/v1/pushes")
    await out(draining.api)
    view = await draining.tell(seen("mx1", **QUIET))
    assert (view["safe_to_delete"], view["detail"]) == (False, NOT_YET), "it is pushed active"
    wanted = await draining.agent.ask()
    assert wanted is not None
    await draining.agent.end(wanted, LineState.REFUSED)
    await push(draining.api, draining.agent)
    draining.clock.move(seconds=60)
    assert (await draining.tell(seen("mx1", **QUIET)))["safe_to_delete"]


async def test_other_edits_and_pushes_do_not_begin_the_minute_anew(draining: Draining) -> None:
    for number in range(3):
        await made(draining.api, "rules/x", {"priority": number, "action": {"kind": "reject"}})
        assert (await draining.tell(seen("mx1", **QUIET)))["safe_to_delete"]
        await out(draining.api, reason=f"again {number}")
        assert (await draining.tell(seen("mx1", **QUIET)))["safe_to_delete"], "out as it was"
        await push(draining.api, draining.agent)
        draining.clock.move(seconds=1)
        assert (await draining.tell(seen("mx1", **QUIET)))["safe_to_delete"]


async def test_an_mta_put_back_to_where_the_relay_was_active_is_no_yes(draining: Draining) -> None:
    await out(draining.api, state="active")
    await push(draining.api, draining.agent)
    before = draining.agent.observed
    await out(draining.api)
    await push(draining.api, draining.agent)
    draining.clock.move(seconds=60)
    assert (await draining.tell(seen("mx1", **QUIET)))["safe_to_delete"]
    draining.agent.observed = before
    assert not (await draining.tell(seen("mx1", **QUIET)))["safe_to_delete"]


async def test_a_revision_of_another_history_or_a_pruned_one_is_no_yes(
    draining: Draining, services: Services
) -> None:
    assert draining.agent.observed is not None
    mine = draining.agent.observed
    for other in ({"history": "another"}, {"revision": 99}):
        draining.agent.observed = mine.model_copy(update=other)
        await draining.tell(seen("mx1", **QUIET))
        draining.clock.move(seconds=60)
        view = await draining.tell(seen("mx1", **QUIET))
        assert not view["safe_to_delete"]
        assert "is not known" in view["detail"]
    draining.agent.observed = mine
    await draining.tell(seen("mx1", **QUIET))
    draining.clock.move(seconds=60)
    assert (await draining.tell(seen("mx1", **QUIET)))["safe_to_delete"]
    for relays in (PLAIN_MAP["relays"], PLAIN_MAP["relays"][:1]):  # type: ignore[index]
        await made(draining.api, "relay-maps/other", {"relays": relays})
    await draining.api.post("/v1/pushes")
    draining.clock.move(days=1)
    await services.store.prune(1, draining.clock())
    await draining.tell(seen("mx1", **QUIET))
    draining.clock.move(seconds=60)
    view = await draining.tell(seen("mx1", **QUIET))
    assert not view["safe_to_delete"]
    assert "is not known" in view["detail"]
