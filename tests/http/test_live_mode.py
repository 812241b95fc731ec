"""MTAs that ask the table program: what can be said to them, and what a push would take."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from app.wire import LineState, Reload
from tests.http.agents import Agent

pytestmark = pytest.mark.anyio

RELAYS = [{"url": "smtp://a.test"}, {"url": "smtp://b.test", "priority": 1}]
RELAY = {"kind": "relay", "via": "map:pool"}
RULE = {"match": {"senders": ["a.test"]}, "action": RELAY}
ACTIONS = ["rm-map-pool", "rm-reject", "rm-mx"]


async def write(api: httpx.AsyncClient, path: str, body: Mapping[str, Any]) -> None:
    answer = await api.put(f"/v1/{path}", json=body)
    assert answer.status_code in {200, 201}, answer.text


async def beside(api: httpx.AsyncClient, *, live: bool) -> Agent:
    """An agent, and a routing that only an MTA which asks can serve."""
    await write(api, "relay-maps/pool", {"policy": "failover", "relays": RELAYS})
    await write(api, "rules/out", RULE)
    agent = await Agent.of(api, "mx-out-1")
    assert (await agent.tell(live=live, actions=ACTIONS if live else [])).status_code == 204
    return agent


async def codes(api: httpx.AsyncClient) -> set[str]:
    found = (await api.get("/v1/findings")).json()["items"]
    return {finding["code"] for finding in found if finding["mta"] is not None}


async def test_policies_and_priorities_are_not_expressible_in_files_and_are_where_it_asks(
    api: httpx.AsyncClient,
) -> None:
    agent = await beside(api, live=False)
    assert "not-expressible" in await codes(api)
    push = await api.post("/v1/pushes?wait=1", json={})
    assert push.status_code == 424
    assert push.json()["push"]["mtas"][0]["state"] == "refused"
    await agent.tell(live=True, actions=ACTIONS)
    assert "not-expressible" not in await codes(api)
    push = await api.post("/v1/pushes", json={})
    assert push.status_code == 202
    assert push.json()["mtas"][0]["state"] == "waiting"


@pytest.mark.parametrize("live", [False, True])
async def test_capabilities_are_of_the_mode(api: httpx.AsyncClient, *, live: bool) -> None:
    await beside(api, live=live)
    answer = (await api.get("/v1/mtas/mx-out-1/capabilities")).json()
    assert answer["live"] is live
    modes = {row["mode"] for row in answer["items"]}
    assert modes == {"any", "live" if live else "static"}
    refused = {row["code"] for row in answer["items"] if row["verdict"] == "refused"}
    assert ("policy" in refused) is not live
    assert ("actions" in refused) is live


async def preview(api: httpx.AsyncClient) -> tuple[str, str]:
    """What a push of the head would take, and what the action lines would be."""
    answer = (await api.get("/v1/mtas/mx-out-1/preview")).json()
    (conf,) = (each["content"] for each in answer["files"] if each["name"] == "relaymap.conf")
    return answer["reload"], conf


async def test_a_preview_says_restart_before_it_happens(api: httpx.AsyncClient) -> None:
    agent = await beside(api, live=True)
    await api.post("/v1/pushes", json={})
    wanted = await agent.ask(5)
    assert wanted is not None
    await agent.end(wanted, LineState.APPLIED, Reload.RESTART)
    await agent.tell(live=True, actions=ACTIONS)
    reload, conf = await preview(api)
    assert reload == "none"
    assert 'action "rm-map-pool" relay domain <rm-map-pool>' in conf
    await api.patch("/v1/relay-maps/pool", json={"policy": "ratio"})
    await write(api, "rules/second", RULE | {"priority": 7})
    assert (await preview(api))[0] == "live"
    await write(api, "rules/third", RULE | {"action": RELAY | {"helo": "other.test"}})
    reload, conf = await preview(api)
    assert reload == "restart"
    assert 'helo "other.test"' in conf
