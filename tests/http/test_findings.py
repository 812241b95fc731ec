"""Findings: what looks wrong with the routing, and what each MTA cannot do of it."""

import httpx
import pytest

from tests.http.agents import Agent
from tests.http.samples import PLAIN_MAP, made, pointers

pytestmark = pytest.mark.anyio

WEIGHTED = PLAIN_MAP | {"policy": "hash", "hash_key": "sender"}


async def findings(api: httpx.AsyncClient, query: str = "") -> list[tuple[str, str, str | None]]:
    answer = await api.get(f"/v1/findings?{query}")
    assert answer.status_code == 200, answer.text
    return [(f["code"], f["subject"], f["mta"]) for f in answer.json()["items"]]


async def test_an_empty_routing_has_none(api: httpx.AsyncClient) -> None:
    assert await findings(api) == []


async def test_findings_are_listed_and_filtered(api: httpx.AsyncClient) -> None:
    await made(api, "relay-maps/mxmap", PLAIN_MAP)
    assert await findings(api) == [("unused-map", "relay-maps/mxmap", None)]
    assert await findings(api, "severity=warning") == await findings(api)
    assert await findings(api, "severity=error") == []
    assert await findings(api, "mta=mx-out-1") == []
    assert pointers(await api.get("/v1/findings?severity=odd")) == [
        ("query", "/severity", "bad-choice")
    ]


async def test_what_an_mta_cannot_do_is_a_finding_of_that_mta(api: httpx.AsyncClient) -> None:
    await made(api, "relay-maps/mxmap", WEIGHTED)
    agent = await Agent.of(api, "mx-out-1")
    await agent.tell()
    answer = await made(api, "rules/r", {"action": {"kind": "relay", "via": "map:mxmap"}})
    mine = await findings(api, "mta=mx-out-1")
    assert {(code, mta) for code, _, mta in mine} == {("not-expressible", "mx-out-1")}
    assert int(answer.headers["Relay-Findings"]) == len(await findings(api))
    subjects = {subject for _, subject, _ in mine}
    assert subjects <= {"rules/r", "relay-maps/mxmap"}
    beside = (await api.get(f"/v1/{subjects.pop()}")).json()["findings"]
    assert ("not-expressible", "mx-out-1") in {(f["code"], f["mta"]) for f in beside}


async def test_findings_are_paged(api: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        await made(api, f"relay-maps/{name}", PLAIN_MAP)
    first = (await api.get("/v1/findings?limit=2")).json()
    rest = (await api.get(f"/v1/findings?cursor={first['next_cursor']}")).json()
    subjects = [f["subject"] for f in first["items"] + rest["items"]]
    assert subjects == ["relay-maps/a", "relay-maps/b", "relay-maps/c"]
    assert rest["next_cursor"] is None


async def test_pages_of_findings_lose_none(api: httpx.AsyncClient) -> None:
    """A rule that an MTA cannot be told for two reasons is two findings, whatever the page."""
    mixed = {"relays": [{"url": "smtps://a.example"}, {"url": "smtp://b.example"}]}
    await made(api, "relay-maps/mxmap", mixed | {"policy": "hash", "hash_key": "sender"})
    await made(api, "rules/r", {"action": {"kind": "relay", "via": "map:mxmap"}})
    await (await Agent.of(api, "mx-out-1")).tell()
    whole = await findings(api)
    assert len([found for found in whole if found[2] == "mx-out-1"]) >= 2
    paged: list[tuple[str, str, str | None]] = []
    url: str | None = "/v1/findings?limit=1"
    while url:
        answer = (await api.get(url)).json()
        paged += [(f["code"], f["subject"], f["mta"]) for f in answer["items"]]
        following = answer["next_cursor"]
        url = f"/v1/findings?limit=1&cursor={following}" if following else None
    assert sorted(paged, key=str) == sorted(whole, key=str)


async def test_a_dry_run_lists_what_its_header_counts(api: httpx.AsyncClient) -> None:
    await made(api, "relay-maps/mxmap", WEIGHTED)
    await made(api, "rules/r", {"action": {"kind": "relay", "via": "map:mxmap"}})
    await made(api, "rules/s", {"action": {"kind": "reject"}})
    await (await Agent.of(api, "mx-out-1")).tell()
    deleted = await api.delete("/v1/rules/s?dry_run=true")
    changed = await api.post("/v1/changes?dry_run=true", json={"changes": [{"delete": "rules/s"}]})
    for answer in (deleted, changed):
        listed = answer.json()["findings"]
        assert len(listed) == int(answer.headers["Relay-Findings"])
        assert "mx-out-1" in {found["mta"] for found in listed}
