"""Tokens over HTTP: made once, listed without their text, bound to what they are for."""

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.server.api.services import Services
from tests.http.agents import Agent
from tests.http.conftest import Clock

pytestmark = pytest.mark.anyio

Json = dict[str, Any]


async def make(api: httpx.AsyncClient, *scopes: str, **body: object) -> Json:
    answer = await api.post("/v1/tokens", json={"name": "ansible", "scopes": scopes, **body})
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def test_the_first_token_may_do_everything(api: httpx.AsyncClient) -> None:
    me = (await api.get("/v1/whoami")).json()
    assert (me["name"], me["mta"]) == ("admin", None)
    assert len(me["scopes"]) == 8


async def test_a_token_is_shown_once(api: httpx.AsyncClient) -> None:
    made = await make(api, "routing:read")
    assert made["token"].startswith("rly_")
    listed = (await api.get("/v1/tokens")).text
    assert made["id"] in listed
    assert made["token"] not in listed
    assert "hash" not in listed


async def test_no_scope_implies_another(api: httpx.AsyncClient) -> None:
    made = await make(api, "tokens:admin")
    refused = await api.get("/v1/mtas", headers=bearer(made["token"]))
    assert (refused.status_code, refused.json()["scope"]) == (403, "routing:read")
    reader = await make(api, "routing:read")
    assert (await api.get("/v1/mtas", headers=bearer(reader["token"]))).status_code == 200
    for method, path in (("POST", "/v1/pushes"), ("PUT", "/v1/mtas/x"), ("GET", "/v1/tokens")):
        answer = await api.request(method, path, headers=bearer(reader["token"]), json={})
        assert answer.status_code == 403


async def test_a_deleted_token_is_refused_at_once(api: httpx.AsyncClient) -> None:
    made = await make(api, "resolve")
    assert (await api.get("/v1/whoami", headers=bearer(made["token"]))).status_code == 200
    assert (await api.delete(f"/v1/tokens/{made['id']}?dry_run=true")).status_code == 200
    assert (await api.get("/v1/whoami", headers=bearer(made["token"]))).status_code == 200
    assert (await api.delete(f"/v1/tokens/{made['id']}")).status_code == 204
    answer = await api.get("/v1/whoami", headers=bearer(made["token"]))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert (await api.delete(f"/v1/tokens/{made['id']}")).status_code == 404


async def test_a_token_ends_when_it_says(api: httpx.AsyncClient, clock: Clock) -> None:
    ends = (clock.now + timedelta(hours=1)).isoformat()
    made = await make(api, "resolve", expires_at=ends)
    assert (await api.get("/v1/whoami", headers=bearer(made["token"]))).status_code == 200
    clock.move(hours=1)
    assert (await api.get("/v1/whoami", headers=bearer(made["token"]))).status_code == 401


async def test_a_token_that_has_ended_before_it_began_is_refused(
    api: httpx.AsyncClient, clock: Clock
) -> None:
    body = {"name": "x", "scopes": ["resolve"], "expires_at": "2020-01-01T00:00:00Z"}
    answer = await api.post("/v1/tokens", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/expires_at")


async def test_the_last_one_that_may_make_tokens_stays(api: httpx.AsyncClient) -> None:
    mine = (await api.get("/v1/whoami")).json()["id"]
    for query in ("", "?dry_run=true"):
        answer = await api.delete(f"/v1/tokens/{mine}{query}")
        assert (answer.status_code, answer.json()["code"]) == (409, "last-admin")
    await make(api, "tokens:admin")
    assert (await api.delete(f"/v1/tokens/{mine}")).status_code == 204


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["everything"]},
        {"name": "", "scopes": ["resolve"]},
        {"name": " ", "scopes": ["resolve"]},
        {"name": "a\nb", "scopes": ["resolve"]},
        {"name": "x" * 201, "scopes": ["resolve"]},
        {"name": "x", "scopes": ["resolve"], "expires_at": "tomorrow"},
        {"name": "x", "scopes": ["resolve"], "expires_at": "2099-01-01T00:00:00"},
        {"name": "x", "scopes": ["resolve"], "hash": "0" * 64},
        {"scopes": ["resolve"]},
        {"name": 1, "scopes": ["resolve"]},
        {"name": "\ud800", "scopes": ["resolve"]},
    ],
)
async def test_a_token_that_is_none_is_refused_and_not_echoed(
    api: httpx.AsyncClient, body: Json
) -> None:
    answer = await api.post(
        "/v1/tokens", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert "everything" not in answer.text
    assert len((await api.get("/v1/tokens")).json()["items"]) == 1


async def test_a_dry_run_makes_no_token(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/tokens?dry_run=true", json={"name": "x", "scopes": ["push"]})
    assert (answer.status_code, answer.json()["token"]) == (201, None)
    assert len((await api.get("/v1/tokens")).json()["items"]) == 1


async def test_an_agents_token_is_good_for_its_mta_alone(api: httpx.AsyncClient) -> None:
    agent = await Agent.of(api, "mx-out-1")
    me = (await api.get("/v1/whoami", headers=agent._headers)).json()
    assert (me["mta"], me["scopes"]) == ("mx-out-1", [])
    for path in (
        "/v1/mtas",
        "/v1/mtas/mx-out-1/preview?version=6.8",
        "/v1/relay-maps",
        "/v1/tokens",
    ):
        assert (await api.get(path, headers=agent._headers)).status_code == 403
    assert (await api.post("/v1/pushes", headers=agent._headers)).status_code == 403
    assert (await api.get("/v1/agent/wanted")).status_code == 403, "nor is an admin an agent"
    assert await agent.ask() is None


async def test_two_tokens_of_an_agent_live_at_once_and_no_third(api: httpx.AsyncClient) -> None:
    await Agent.of(api, "mx-out-1")
    second = await api.post("/v1/mtas/mx-out-1/token")
    assert second.status_code == 201
    for query in ("", "?dry_run=true"):
        third = await api.post(f"/v1/mtas/mx-out-1/token{query}")
        assert (third.status_code, third.json()["code"]) == (409, "limit-reached")
    await api.delete(f"/v1/tokens/{second.json()['id']}")
    assert (await api.post("/v1/mtas/mx-out-1/token")).status_code == 201
    assert (await api.post("/v1/mtas/nobody/token")).status_code == 404


async def test_the_tokens_of_an_agent_end_with_its_mta(api: httpx.AsyncClient) -> None:
    agent = await Agent.of(api, "mx-out-1")
    assert await agent.ask() is None
    assert (await api.delete("/v1/mtas/mx-out-1")).status_code == 204
    assert (await agent.tell()).status_code == 401


async def test_when_a_token_was_last_used_is_noted_some_time_later(
    api: httpx.AsyncClient, services: Services, clock: Clock
) -> None:
    made = await make(api, "routing:read")
    await api.get("/v1/whoami", headers=bearer(made["token"]))
    used = clock.now
    await services.tokens.upkeep()
    rows = {row["id"]: row for row in (await api.get("/v1/tokens")).json()["items"]}
    assert rows[made["id"]]["last_used_at"] == used.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer x", "Basic YTpi", "bearer rly_" + "A" * 43, "Bearer rly_é"],
)
async def test_whoever_has_no_token_is_asked_for_one(
    api: httpx.AsyncClient, authorization: str | None
) -> None:
    del api.headers["Authorization"]
    headers = [] if authorization is None else [(b"Authorization", authorization.encode())]
    answer = await api.get("/v1/whoami", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert "rly_A" not in answer.text


async def test_tokens_are_listed_page_by_page(api: httpx.AsyncClient) -> None:
    wanted = {(await make(api, "resolve"))["id"] for _ in range(5)}
    seen: list[str] = []
    path = "/v1/tokens?limit=2"
    while path:
        page = await api.get(path)
        seen += [each["id"] for each in page.json()["items"]]
        path = page.links.get("next", {}).get("url", "")
    assert len(seen) == len(set(seen)) == 6
    assert wanted < set(seen)


@pytest.mark.parametrize(
    "time",
    [
        1_900_000_000,
        1.9e9,
        "1900000000",
        "2030-01-01 00:00:00Z",
        "2030-01-01T00:00:00",
        "2030-02-30T00:00:00Z",
        "2030-01-01T24:00:01Z",
        "9999-12-31T23:59:59-23:59",
        "2030-01-01T00:00:00Z\n",
        "٢030-01-01T00:00:00Z",
        True,
        {},
    ],
)
async def test_what_is_no_time_of_rfc_3339_is_refused(api: httpx.AsyncClient, time: object) -> None:
    await Agent.of(api, "mx1")
    for path, body in (("tokens", {"name": "x", "scopes": ["resolve"]}), ("mtas/mx1/token", {})):
        answer = await api.post(f"/v1/{path}", json=body | {"expires_at": time})
        assert answer.status_code == 422, answer.text
        assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [
            ("/expires_at", "bad-time")
        ]


async def test_times_are_answered_in_utc(api: httpx.AsyncClient) -> None:
    made = await make(api, "resolve", expires_at="2130-01-01T00:00:00+02:00")
    assert made["expires_at"] == "2129-12-31T22:00:00Z"


async def test_an_answer_can_be_sent_back(api: httpx.AsyncClient) -> None:
    made = await make(api, "resolve")
    assert (await api.post("/v1/tokens", json=made)).status_code == 201
    await Agent.of(api, "mx1")
    own = (await api.post("/v1/mtas/mx1/token")).json()
    assert (await api.post("/v1/mtas/mx1/token?dry_run=true", json=own)).status_code == 409
    assert (await api.delete(f"/v1/tokens/{own['id']}")).status_code == 204
    assert (await api.post("/v1/mtas/mx1/token", json=own)).status_code == 201


@pytest.mark.parametrize("odd", ["%00", "%ff", "x" * 500, "%2e%2e"])
async def test_an_id_that_no_token_has_is_not_found(api: httpx.AsyncClient, odd: str) -> None:
    assert (await api.delete(f"/v1/tokens/{odd}")).status_code == 404
