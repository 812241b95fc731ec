"""What agents are given and what they may say: secrets for what was pushed, and nothing else."""

import asyncio
import json

import httpx
import pytest

from app.server.api.services import Services
from app.wire import LineState, MtaState, Observed
from tests.http.agents import Agent
from tests.http.conftest import Clock

pytestmark = pytest.mark.anyio

CANARY = "canary-3f9a"
LOGIN = {"username": "me", "password": CANARY, "hosts": ["smtp.example.net"]}
RULE = {
    "match": {"recipients": ["example.org"]},
    "action": {"kind": "relay", "via": "tls+auth://acct@smtp.example.net:587"},
}


@pytest.fixture
async def agent(api: httpx.AsyncClient) -> Agent:
    return await Agent.of(api, "mx-out-1")


async def put(api: httpx.AsyncClient, path: str, body: object) -> None:
    answer = await api.put(f"/v1/{path}", json=body)
    assert answer.is_success, answer.text


async def route_with_login(api: httpx.AsyncClient) -> None:
    await put(api, "credentials/acct", LOGIN)
    await put(api, "credentials/unused", LOGIN | {"password": "canary-unused"})
    await put(api, "rules/org-out", RULE)


async def test_an_agent_gets_secrets_for_the_labels_that_pushed_rules_use(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    await route_with_login(api)
    assert await agent.ask() is None, "nothing before a push"
    await api.post("/v1/pushes")
    wanted = await agent.ask()
    assert wanted is not None
    (secret,) = wanted.secrets
    assert (secret.label, secret.username, secret.password) == ("acct", "me", CANARY)
    assert CANARY not in json.dumps(wanted.model)
    assert CANARY not in repr(wanted)


async def test_a_label_that_only_a_disabled_rule_uses_is_not_sent(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    await route_with_login(api)
    await put(api, "rules/org-out", RULE | {"enabled": False})
    await api.post("/v1/pushes")
    wanted = await agent.ask()
    assert wanted is not None
    assert wanted.secrets == []


async def test_an_mta_that_no_push_names_gets_nothing(api: httpx.AsyncClient, agent: Agent) -> None:
    other = await Agent.of(api, "mx-out-2", "agent-2")
    await route_with_login(api)
    await api.post("/v1/pushes", json={"mtas": ["mx-out-1"]})
    assert await other.ask() is None
    assert await agent.ask() is not None


async def test_a_password_that_was_changed_after_a_push_is_not_sent_with_it(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    """The new one may be allowed for other hosts than those that the old routing sends it to."""
    await route_with_login(api)
    made = (await api.post("/v1/pushes")).json()
    elsewhere = {"hosts": ["smtp.example.net", "other.example.net"], "password": "canary-new"}
    await put(api, "credentials/acct", LOGIN | elsewhere)
    assert await agent.ask() is None
    (line,) = (await api.get(f"/v1/pushes/{made['id']}")).json()["mtas"]
    assert (line["state"], "push again" in line["detail"]) == ("refused", True)
    await api.post("/v1/pushes")
    wanted = await agent.ask()
    assert wanted is not None
    assert wanted.secrets[0].password == "canary-new"


async def test_no_password_is_in_any_answer_but_the_agents(
    api: httpx.AsyncClient, agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    await route_with_login(api)
    await agent.tell(addresses=["192.0.2.25"])
    made = (await api.post("/v1/pushes")).json()
    wanted = await agent.apply()
    assert wanted.secrets
    for path in (
        f"pushes/{made['id']}",
        "pushes",
        "mtas/mx-out-1/status",
        "mtas/mx-out-1/preview",
        "mtas/mx-out-1/preview?diff=true",
        "credentials",
        "credentials/acct",
        "credentials/acct/uses",
        "revisions/1",
        "revisions/3",
        "findings",
        "relays",
        "resolve?recipient=joe@example.org&explain=true",
    ):
        answer = await api.get(f"/v1/{path}")
        assert answer.status_code == 200, path
        assert CANARY not in answer.text, path
    assert CANARY not in (await api.get("/metrics")).text
    assert CANARY not in caplog.text


async def test_an_answer_with_secrets_is_kept_by_nobody(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    await route_with_login(api)
    await api.post("/v1/pushes")
    answer = await api.get("/v1/agent/wanted", headers=agent._headers)
    assert answer.headers["Cache-Control"] == "no-store"


async def test_an_agent_that_has_served_more_than_the_database_knows_says_so(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    await api.post("/v1/pushes")
    wanted = await agent.ask()
    assert wanted is not None
    agent.observed = Observed(
        history=wanted.history,
        revision=57,
        model_digest="9" * 64,
        files_digest="f" * 64,
    )
    await agent.tell(behind_me=True)
    await agent.end(wanted, LineState.REFUSED, detail="it has served revision 57")
    status = (await api.get("/v1/mtas/mx-out-1/status")).json()
    assert (status["state"], status["observed"]["revision"]) == ("behind", 57)
    assert await agent.ask() is None, "only what is pushed from now on"
    await api.post("/v1/pushes")
    await agent.apply()
    assert (await api.get("/v1/mtas/mx-out-1/status")).json()["state"] == "live"


async def test_a_database_that_was_put_back_offers_nothing_by_itself(
    api: httpx.AsyncClient, agent: Agent, services: Services
) -> None:
    await route_with_login(api)
    await api.post("/v1/pushes")
    current = services.live.current()
    services.live.replace(type(current)("otherlife", current.table, current.marks))
    services.pushes._wishes.forget()
    assert await agent.ask() is None
    agent.observed = Observed(
        history="otherlife", revision=3, model_digest="0" * 64, files_digest="0" * 64
    )
    await agent.tell()
    assert (await api.get("/v1/mtas/mx-out-1/status")).json()["state"] == "live"
    agent.observed = agent.observed.model_copy(update={"history": current.history})
    await agent.tell()
    assert (await api.get("/v1/mtas/mx-out-1/status")).json()["state"] == "behind"


async def test_a_long_poll_ends_with_its_mta_and_with_the_server(
    api: httpx.AsyncClient, agent: Agent, services: Services
) -> None:
    other = await Agent.of(api, "mx-out-2", "agent-2")
    first = asyncio.create_task(
        api.get("/v1/agent/wanted?wait=60", headers=agent._headers),
    )
    second = asyncio.create_task(other.ask(wait=60))
    both = {"mx-out-1", "mx-out-2"}
    while not services.pushes._bells.keys() >= both:  # noqa: ASYNC110  nobody tells of a wait
        await asyncio.sleep(0.01)
    await api.delete("/v1/mtas/mx-out-1")
    assert (await first).status_code == 404
    services.pushes.close()
    assert await second is None


@pytest.mark.parametrize(
    "query", ["known=-1", "known=x", "wait=61", "wait=1.0", "known=1&known=2", "since=1"]
)
async def test_a_question_that_is_none_is_refused(
    api: httpx.AsyncClient, agent: Agent, query: str
) -> None:
    answer = await api.get(f"/v1/agent/wanted?{query}", headers=agent._headers)
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"agent": "a"},
        {"agent": "a", "state": "asleep"},
        {"agent": "a", "state": "live", "addresses": "192.0.2.1"},
        {"agent": "a", "state": "live", "push": {"push": 1}},
        {
            "agent": "a",
            "state": "live",
            "push": {"push": 2**63, "state": "applied", "reload": "none"},
        },
        {"agent": "a", "state": "live", "push": {"push": -1, "state": "applied", "reload": "none"}},
        [],
    ],
)
async def test_a_report_that_is_none_is_refused(
    api: httpx.AsyncClient, agent: Agent, body: object
) -> None:
    answer = await api.post("/v1/agent/reports", json=body, headers=agent._headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert "asleep" not in answer.text


async def test_a_newer_agent_may_say_more_than_we_know(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    body = {"agent": "agent-1", "state": "live", "weather": "fine"}
    answer = await api.post("/v1/agent/reports", json=body, headers=agent._headers)
    assert answer.status_code == 204


async def test_what_an_agent_mistakes_stops_nobody(
    api: httpx.AsyncClient, agent: Agent, clock: Clock
) -> None:
    await agent.tell(
        state=MtaState.STOPPED, addresses=["not-an-address", "192.0.2.1"], version="seven"
    )
    for path in ("status", "capabilities", "preview?version=7.8"):
        assert (await api.get(f"/v1/mtas/mx-out-1/{path}")).status_code == 200
    assert (await api.get("/v1/mtas/mx-out-1/preview")).status_code == 409
    assert (await api.get("/v1/findings")).status_code == 200
    assert (await api.post("/v1/pushes")).status_code == 202


@pytest.mark.parametrize("odd", ["\\ud800", "\\u0000", "a\\nb", "../..", "x" * 5000])
async def test_odd_texts_of_an_agent_are_taken_and_shown(
    api: httpx.AsyncClient, agent: Agent, odd: str
) -> None:
    """A file of another name than ours may be called anything, and its name is in the detail."""
    stone = f'{{"action": "{odd}", "text": "{odd}", "relays": ["{odd}"], "retire_at": 1}}'
    body = (
        f'{{"agent": "agent-1", "state": "drifted", "version": "7.8.0", "detail": "{odd}",'
        f' "state_dir": "{odd}", "addresses": ["{odd}"], "certificates": ["{odd}"],'
        f' "tombstones": [{stone}],'
        f' "push": {{"push": 9, "state": "failed", "reload": "none", "detail": "{odd}"}}}}'
    )
    headers = {**agent._headers, "Content-Type": "application/json"}
    answer = await api.post("/v1/agent/reports", content=body, headers=headers)
    assert answer.status_code == 204
    for path in ("status", "capabilities", "preview"):
        assert (await api.get(f"/v1/mtas/mx-out-1/{path}")).status_code == 200


@pytest.mark.parametrize(
    "more",
    [
        {"addresses": [0] * 300_000},
        {"addresses": ["::1"] * 100_000},
        {"certificates": ["x"] * 10_001},
        {"tombstones": [{}] * 100_000},
    ],
)
async def test_a_report_without_end_is_refused_in_few_words(
    api: httpx.AsyncClient, agent: Agent, more: dict[str, object]
) -> None:
    body = {"agent": "agent-1", "state": "live", **more}
    answer = await api.post("/v1/agent/reports", json=body, headers=agent._headers)
    assert answer.status_code == 422
    assert len(answer.content) < 1000


async def test_a_long_word_of_an_agent_is_cut(api: httpx.AsyncClient, agent: Agent) -> None:
    await agent.tell(detail="x" * 500_000)
    status = (await api.get("/v1/mtas/mx-out-1/status")).json()
    assert 1000 < len(status["detail"]) <= 4000


async def test_a_revision_that_is_none_of_ours_hides_no_preview(
    api: httpx.AsyncClient, agent: Agent
) -> None:
    push = (await api.post("/v1/pushes")).json()
    assert push["state"] == "running"
    wanted = await agent.ask()
    assert wanted is not None
    observed = {
        "history": wanted.history,
        "revision": 99,
        "model_digest": "d",
        "files_digest": "f",
    }
    await agent.tell(observed=observed)
    assert (await api.get("/v1/mtas/mx-out-1/preview")).status_code == 200
