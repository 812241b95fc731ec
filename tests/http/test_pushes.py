"""Pushes over HTTP: what agents are given, what their reports settle, what time does."""

import asyncio
from typing import Any

import httpx
import pytest

from app.routing.model import model_digest, read_model
from app.server.api.app import create_app
from app.server.api.services import Services
from app.server.main import open_services
from app.wire import LineState, PushReport, Reload
from tests.http.agents import Agent
from tests.http.conftest import Clock

pytestmark = pytest.mark.anyio

Json = dict[str, Any]

MAP = {"relays": [{"url": "smtp://mx1.example.net"}, {"url": "smtp://mx2.example.net"}]}
RULE = {"match": {"recipients": ["example.org"]}, "action": {"kind": "relay", "via": "map:mxmap"}}
HASHED = {**MAP, "policy": "hash", "hash_key": "recipient"}


async def route_mail(api: httpx.AsyncClient) -> None:
    for path, body in (("relay-maps/mxmap", MAP), ("rules/org-out", RULE)):
        answer = await api.put(f"/v1/{path}", json=body)
        assert answer.status_code == 201, answer.text


@pytest.fixture
async def agent(api: httpx.AsyncClient) -> Agent:
    return await Agent.of(api, "mx-out-1")


async def push(api: httpx.AsyncClient, **body: object) -> Json:
    answer = await api.post("/v1/pushes", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/pushes/{answer.json()['id']}"
    made: Json = answer.json()
    return made


async def line(api: httpx.AsyncClient, number: int, mta: str = "mx-out-1") -> Json:
    answer = await api.get(f"/v1/pushes/{number}")
    assert answer.status_code == 200, answer.text
    lines: list[Json] = answer.json()["mtas"]
    return next(each for each in lines if each["mta"] == mta)


async def test_nothing_is_pushed_where_there_is_no_mta(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/pushes")
    assert (answer.status_code, answer.json()["code"]) == (409, "no-mta")


async def test_a_push_to_an_unknown_mta_is_refused(api: httpx.AsyncClient, agent: Agent) -> None:
    answer = await api.post("/v1/pushes", json={"mtas": ["mx-out-1", "nobody"]})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert (await api.get("/v1/pushes")).json()["items"] == []


async def test_only_the_head_is_pushed(api: httpx.AsyncClient, agent: Agent) -> None:
    await route_mail(api)
    answer = await api.post("/v1/pushes", json={"revision": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "revision-moved")
    assert answer.json()["current"] == 2
    assert (await push(api, revision=2))["revision"] == 2


async def test_the_agent_gets_the_whole_model_and_the_line_follows_its_reports(
    api: httpx.AsyncClient, agent: Agent, services: Services
) -> None:
    await route_mail(api)
    made = await push(api)
    assert (made["state"], made["mtas"][0]["state"]) == ("running", "waiting")
    wanted = await agent.ask()
    assert wanted is not None
    table = read_model(wanted.model, wanted.revision)
    assert model_digest(table) == wanted.model_digest
    assert wanted.model_digest == model_digest(services.live.current().table)
    assert (wanted.push, wanted.revision, wanted.secrets) == (made["id"], 2, [])
    await agent.begin(wanted)
    assert (await line(api, made["id"]))["state"] == "applying"
    await agent.end(wanted, LineState.APPLIED)
    after = await line(api, made["id"])
    assert (after["state"], after["reload"]) == ("applied", "restart")
    assert after["started_at"] <= after["finished_at"]
    assert (await api.get(f"/v1/pushes/{made['id']}")).json()["state"] == "applied"
    assert await agent.ask() is None


async def test_a_long_poll_is_woken_by_a_push(api: httpx.AsyncClient, agent: Agent) -> None:
    await route_mail(api)
    waiting = asyncio.create_task(agent.ask(wait=50))
    await asyncio.sleep(0)
    made = await push(api)
    wanted = await waiting
    assert wanted is not None
    assert wanted.push == made["id"]


async def test_an_agent_that_stops_before_it_begins_is_given_the_model_again(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    await route_mail(api)
    await push(api)
    first = await agent.ask()
    assert first is not None
    agent.known = first.push
    assert await agent.ask() == first


async def test_a_waiting_push_is_superseded_by_the_next(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    await route_mail(api)
    first, second = await push(api), await push(api)
    assert (await line(api, first["id"]))["state"] == "superseded"
    wanted = await agent.apply()
    assert wanted.push == second["id"]


async def test_the_pinned_model_is_given_however_much_is_edited_meanwhile(
    api: httpx.AsyncClient, agent: Agent, services: Services
) -> None:
    await route_mail(api)
    digest = model_digest(services.live.current().table)
    await push(api)
    await api.delete("/v1/rules/org-out")
    await api.put("/v1/relay-maps/mxmap", json={"relays": [{"url": "smtp://mx9.example.net"}]})
    await api.put("/v1/relay-maps/mxmap/relays/mx9.example.net/state", json={"state": "out"})
    assert model_digest(services.live.current().table) != digest
    services.pushes._pins.keep({})  # as after a restart: nothing is remembered
    wanted = await agent.apply()
    assert (wanted.revision, wanted.model_digest) == (2, digest)
    status = (await api.get("/v1/mtas/mx-out-1/status")).json()
    assert (status["state"], status["observed"]["revision"]) == ("live", 2)


@pytest.mark.parametrize("state", ["refused", "rolled-back"])
async def test_what_an_mta_refused_is_not_tried_again_by_itself(
    api: httpx.AsyncClient, agent: Agent, clock: Clock, state: str
) -> None:
    await route_mail(api)
    made = await push(api)
    wanted = await agent.ask()
    assert wanted is not None
    await agent.end(wanted, LineState(state), detail="smtpd said no")
    assert (await line(api, made["id"]))["detail"] == "smtpd said no"
    for known in (0, wanted.push):
        agent.known = known
        clock.move(hours=2)
        assert await agent.ask() is None
    await push(api)
    assert (await agent.apply()).model_digest == wanted.model_digest


async def test_what_failed_is_given_again_when_its_time_has_come(
    api: httpx.AsyncClient, agent: Agent, clock: Clock
) -> None:
    await route_mail(api)
    made = await push(api)
    for pause_s in (10, 60, 300, 900, 900):
        wanted = await agent.ask()
        assert wanted is not None
        await agent.begin(wanted)
        await agent.end(wanted, LineState.FAILED, Reload.NONE, "no space left")
        assert (await line(api, made["id"]))["state"] == "failed"
        clock.move(seconds=pause_s - 1)
        assert await agent.ask() is None
        clock.move(seconds=1)
    await agent.apply()
    assert (await line(api, made["id"]))["state"] == "applied"


async def test_nobody_who_comes_within_a_day_lets_a_push_expire(
    api: httpx.AsyncClient, agent: Agent, clock: Clock, services: Services
) -> None:
    await route_mail(api)
    made = await push(api)
    clock.move(hours=23, minutes=59)
    await services.pushes.look()
    assert (await line(api, made["id"]))["state"] == "waiting"
    clock.move(minutes=1)
    await services.pushes.look()
    assert (await line(api, made["id"]))["state"] == "expired"
    assert await agent.ask() is None


async def test_an_agent_that_falls_silent_at_work_leaves_unknown_and_settles_it_later(
    api: httpx.AsyncClient, agent: Agent, clock: Clock, services: Services
) -> None:
    await route_mail(api)
    made = await push(api)
    wanted = await agent.ask()
    assert wanted is not None
    await agent.begin(wanted)
    clock.move(minutes=5)
    await services.pushes.look()
    assert (await line(api, made["id"]))["state"] == "unknown"
    await agent.end(wanted, LineState.APPLIED)
    assert (await line(api, made["id"]))["state"] == "applied"


async def test_a_push_is_withdrawn_while_it_has_not_begun(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    await route_mail(api)
    first = await push(api)
    tried = await api.delete(f"/v1/pushes/{first['id']}?dry_run=true")
    assert (tried.status_code, tried.json()) == (200, {"findings": []})
    assert (await line(api, first["id"]))["state"] == "waiting"
    assert (await api.delete(f"/v1/pushes/{first['id']}")).status_code == 204
    assert (await line(api, first["id"]))["state"] == "withdrawn"
    assert await agent.ask() is None
    second = await push(api)
    await agent.apply()
    await api.delete(f"/v1/pushes/{second['id']}")
    assert (await line(api, second["id"]))["state"] == "applied"


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("refused", "push-refused"),
        ("rolled-back", "push-rolled-back"),
        ("failed", "push-failed"),
    ],
)
async def test_waiting_for_a_push_tells_what_became_of_it(
    api: httpx.AsyncClient, agent: Agent, state: str, code: str
) -> None:
    await route_mail(api)
    asked = asyncio.create_task(api.post("/v1/pushes?wait=30"))
    wanted = await agent.ask(wait=30)
    assert wanted is not None
    await agent.end(wanted, LineState(state), detail="why it is so")
    answer = await asked
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (424, code)
    assert problem["push"]["mtas"][0]["detail"] == "why it is so"
    assert (await api.get(f"/v1/pushes/{wanted.push}?wait=0")).status_code == 424


async def test_waiting_for_a_push_that_is_applied_answers_200(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    await route_mail(api)
    asked = asyncio.create_task(api.post("/v1/pushes?wait=30"))
    await agent.apply(wait=30)
    answer = await asked
    assert (answer.status_code, answer.json()["state"]) == (200, "applied")
    assert (await api.get(f"/v1/pushes/{answer.json()['id']}?wait=0")).status_code == 200


async def test_a_push_that_nobody_comes_for_is_unfinished(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    answer = await api.post("/v1/pushes?wait=0")
    assert (answer.status_code, answer.json()["code"]) == (424, "push-unfinished")
    assert answer.json()["push"]["state"] == "running"


async def test_a_write_pushes_and_waits_where_it_is_asked_to(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    await route_mail(api)
    asked = asyncio.create_task(
        api.patch("/v1/rules/org-out?push=wait", json={"priority": 7}),
    )
    wanted = await agent.apply(wait=30)
    answer = await asked
    assert (answer.status_code, answer.headers["Relay-Push"]) == (200, str(wanted.push))
    asked = asyncio.create_task(api.delete("/v1/rules/org-out?push=wait"))
    refused = await agent.ask(wait=30)
    assert refused is not None
    await agent.end(refused, LineState.ROLLED_BACK)
    answer = await asked
    assert (answer.status_code, answer.json()["code"]) == (424, "push-rolled-back")
    assert (await api.get("/v1/rules/org-out")).status_code == 404, "the write itself is made"


async def test_a_write_that_cannot_be_pushed_anywhere_is_not_made(api: httpx.AsyncClient) -> None:
    answer = await api.put("/v1/relay-maps/mxmap?push=wait", json=MAP)
    assert (answer.status_code, answer.json()["code"]) == (409, "no-mta")
    assert (await api.get("/v1/relay-maps/mxmap")).status_code == 404


async def test_what_a_version_cannot_say_is_a_warning_at_the_write_and_refused_at_the_push(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    await route_mail(api)
    assert (await agent.tell()).status_code == 204
    written = await api.put("/v1/relay-maps/mxmap", json=HASHED)
    assert written.status_code == 200
    assert int(written.headers["Relay-Findings"]) >= 1
    found = (await api.get("/v1/findings")).json()["items"]
    (finding,) = [each for each in found if each["code"] == "not-expressible"]
    assert (finding["mta"], finding["severity"]) == ("mx-out-1", "warning")
    assert finding["subject"] == "rules/org-out"
    tried = await api.post("/v1/pushes?dry_run=true")
    made = await push(api)
    assert tried.json()["mtas"][0]["state"] == made["mtas"][0]["state"] == "refused"
    assert "rules/org-out" in made["mtas"][0]["detail"]
    assert tried.json()["id"] == 0
    assert await agent.ask() is None


async def test_a_dry_run_pushes_nothing(api: httpx.AsyncClient, agent: Agent) -> None:
    answer = await api.post("/v1/pushes?dry_run=true")
    assert (answer.status_code, answer.headers["Dry-Run"]) == (202, "true")
    assert "Location" not in answer.headers
    assert (await api.get("/v1/pushes")).json()["items"] == []
    assert await agent.ask() is None


async def test_two_agents_of_one_mta_cannot_both_speak(
    api: httpx.AsyncClient, agent: Agent, clock: Clock
) -> None:
    made = await api.post("/v1/mtas/mx-out-1/token")
    other = Agent(api, made.json()["token"], name="agent-2")
    assert (await agent.tell()).status_code == 204
    clock.move(seconds=59)
    refused = await other.tell()
    assert (refused.status_code, refused.json()["code"]) == (409, "another-agent")
    clock.move(seconds=1)
    assert (await other.tell()).status_code == 204
    assert (await agent.tell()).status_code == 409


async def test_everything_goes_on_from_the_rows_after_a_restart(
    api: httpx.AsyncClient, agent: Agent, services: Services, settings, clock: Clock
) -> None:
    await route_mail(api)
    made = await push(api)
    wanted = await agent.ask()
    assert wanted is not None
    await agent.begin(wanted)
    async with open_services(settings, clock) as again:
        agent._api = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=create_app(again)), base_url="http://localhost"
        )
        assert await agent.ask() == wanted, "the agent may have forgotten as well"
        await agent.end(wanted, LineState.APPLIED)
        again.pushes.close()
        await agent._api.aclose()
    assert (await line(api, made["id"]))["state"] == "applied"


async def test_pushes_are_listed_newest_first_page_by_page(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    numbers = [(await push(api))["id"] for _ in range(5)]
    seen: list[int] = []
    path = "/v1/pushes?limit=2"
    while path:
        page = await api.get(path)
        seen += [each["id"] for each in page.json()["items"]]
        path = page.links.get("next", {}).get("url", "")
    assert seen == numbers[::-1]


async def test_a_push_can_be_read_as_text(api: httpx.AsyncClient, agent: Agent) -> None:
    made = await push(api)
    await agent.apply()
    answer = await api.get(f"/v1/pushes/{made['id']}", headers={"Accept": "text/plain"})
    assert answer.text == f"push {made['id']} revision 0 applied\nmx-out-1 applied restart\n"


async def test_a_report_of_a_push_that_never_was_changes_nothing(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    said = PushReport(push=999, state=LineState.APPLIED, reload=Reload.NONE)
    assert (await agent.tell(said)).status_code == 204


async def test_a_write_whose_push_is_missed_says_that_it_is_made(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    """The headers of the write stand in the problem of its push."""
    await route_mail(api)
    await agent.tell()
    body = {"match": {"tags": ["new"]}, "action": {"kind": "relay", "via": "map:mxmap"}}

    async def refuse() -> None:
        wanted = await agent.ask(5)
        assert wanted is not None
        await agent.begin(wanted)
        await agent.end(wanted, LineState.REFUSED, detail="not today")

    answer, _ = await asyncio.gather(api.put("/v1/rules/new?push=wait", json=body), refuse())
    assert (answer.status_code, answer.json()["code"]) == (424, "push-refused")
    stored = await api.get("/v1/rules/new")
    assert answer.headers["Location"] == "/v1/rules/new"
    assert answer.headers["ETag"] == stored.headers["ETag"]
    assert answer.headers["Relay-Revision"] == "3"
    assert answer.headers["Relay-Changed"] == "true"
    assert answer.headers["Relay-Push"] == str(answer.json()["push"]["id"])


LOGIN = {"username": "me", "password": "canary-7c1f", "hosts": ["mx1.example.net"]}
WITH_LOGIN = {
    "match": {"recipients": ["example.org"]},
    "action": {"kind": "relay", "via": "smtps://acct@mx1.example.net"},
}


async def test_a_token_that_is_ended_while_its_holder_waits_gets_no_password(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    await api.put("/v1/credentials/acct", json=LOGIN)
    await api.put("/v1/rules/r", json=WITH_LOGIN)
    (token,) = [t for t in (await api.get("/v1/tokens")).json()["items"] if t["mta"]]

    async def ask() -> httpx.Response:
        return await api.get("/v1/agent/wanted?wait=30", headers=agent._headers)

    async def end() -> None:
        await asyncio.sleep(0.2)  # the poll waits by now; were it later, it would be refused too
        assert (await api.delete(f"/v1/tokens/{token['id']}")).status_code == 204
        await push(api)

    answer, _ = await asyncio.gather(ask(), end())
    assert answer.status_code == 401
    assert "canary" not in answer.text


async def test_what_is_applied_stays_so_though_its_password_is_changed(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    await api.put("/v1/credentials/acct", json=LOGIN)
    await api.put("/v1/rules/r", json=WITH_LOGIN)
    await agent.tell()
    number = (await push(api))["id"]
    await agent.apply()
    await api.put("/v1/credentials/acct", json=LOGIN | {"password": "another"})
    agent.known = 0  # it lost its memory
    assert await agent.ask() is None
    assert (await line(api, number))["state"] == "applied"
