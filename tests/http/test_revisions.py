"""Revisions over HTTP: who changed what and why, and the way back."""

from collections.abc import Mapping
from datetime import timedelta

import httpx
import pytest

from app.server.api.services import Services
from tests.http.conftest import Clock

pytestmark = pytest.mark.anyio

ONE = {"relays": [{"url": "smtp://mx1.example.net"}]}
TWO = {"relays": [{"url": "smtp://mx1.example.net"}, {"url": "smtp://mx2.example.net"}]}
RULE = {"match": {"recipients": ["example.org"]}, "action": {"kind": "relay", "via": "map:mxmap"}}
LOGIN = {"username": "me", "password": "canary-81b2", "hosts": ["smtp.example.net"]}
VIA_LOGIN = {"kind": "relay", "via": "tls+auth://acct@smtp.example.net:587"}


async def put(api: httpx.AsyncClient, path: str, body: object, **headers: str) -> httpx.Response:
    answer = await api.put(f"/v1/{path}", json=body, headers=headers)
    assert answer.is_success, answer.text
    return answer


async def state_of(api: httpx.AsyncClient) -> dict[str, object]:
    """Maps and rules as clients write them."""
    found: dict[str, object] = {}
    for kind in ("relay-maps", "rules"):
        for each in (await api.get(f"/v1/{kind}")).json()["items"]:
            kept = {
                name: value
                for name, value in each.items()
                if name not in {"revision", "created_at", "updated_at", "findings"}
            }
            found[f"{kind}/{each['name']}"] = kept
    return found


async def test_a_revision_says_who_when_why_and_what(api: httpx.AsyncClient) -> None:
    await put(api, "relay-maps/mxmap", ONE, **{"Relay-Message": "INC-123"})
    await put(api, "relay-maps/mxmap", TWO)
    await api.delete("/v1/relay-maps/mxmap")
    first, second, third = [(await api.get(f"/v1/revisions/{n}")).json() for n in (1, 2, 3)]
    assert (first["author"], first["message"], first["change_count"]) == ("admin", "INC-123", 1)
    (made,), (replaced,), (deleted,) = first["changes"], second["changes"], third["changes"]
    assert [made["op"], replaced["op"], deleted["op"]] == ["create", "replace", "delete"]
    assert made["subject"] == "relay-maps/mxmap"
    assert (made["before"], deleted["after"]) == (None, None)
    assert made["after"] == replaced["before"]
    assert replaced["after"] == deleted["before"]
    listed = (await api.get("/v1/revisions")).json()["items"]
    assert [each["revision"] for each in listed] == [3, 2, 1]
    assert listed[2] == {name: value for name, value in first.items() if name != "changes"}


async def test_revisions_are_listed_page_by_page(api: httpx.AsyncClient) -> None:
    for number in range(5):
        await put(api, f"relay-maps/m{number}", ONE)
    seen: list[int] = []
    path = "/v1/revisions?limit=2"
    while path:
        page = await api.get(path)
        seen += [each["revision"] for each in page.json()["items"]]
        path = page.links.get("next", {}).get("url", "")
    assert seen == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("number", ["99", "9007199254740992"])
async def test_a_revision_that_is_not_there_yet_is_404(api: httpx.AsyncClient, number: str) -> None:
    for method, path in (("GET", ""), ("POST", "/restore")):
        answer = await api.request(method, f"/v1/revisions/{number}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize("number", ["-1", "1.0", "one", "9007199254740993", "1e3", "01"])
async def test_what_is_no_revision_is_422(api: httpx.AsyncClient, number: str) -> None:
    answer = await api.get(f"/v1/revisions/{number}")
    assert (answer.status_code, answer.json()["errors"][0]["in"]) == (422, "path")


async def test_a_restore_makes_a_new_revision_equal_to_the_old_one(
    api: httpx.AsyncClient,
) -> None:
    await put(api, "relay-maps/mxmap", ONE)
    await put(api, "rules/org-out", RULE)
    then = await state_of(api)
    await put(api, "relay-maps/mxmap", TWO)
    await api.delete("/v1/rules/org-out")
    answer = await api.post("/v1/revisions/2/restore", headers={"Relay-Message": "back"})
    assert answer.json() == {"revision": 5, "change_count": 2, "findings": 0}
    assert answer.headers["Relay-Revision"] == "5"
    assert await state_of(api) == then, "the rule has the id that it had"
    again = await api.post("/v1/revisions/2/restore")
    assert again.json()["revision"] == 5
    assert again.headers["Relay-Changed"] == "false"
    assert (await api.get("/v1/revisions/5")).json()["message"] == "back"


async def test_revision_0_is_the_empty_routing(api: httpx.AsyncClient) -> None:
    await put(api, "relay-maps/mxmap", ONE)
    await put(api, "rules/org-out", RULE)
    assert (await api.post("/v1/revisions/0/restore")).json()["change_count"] == 2
    assert await state_of(api) == {}


async def test_a_dry_run_restores_nothing(api: httpx.AsyncClient) -> None:
    await put(api, "relay-maps/mxmap", ONE)
    answer = await api.post("/v1/revisions/0/restore?dry_run=true")
    assert answer.json() == {"revision": 1, "change_count": 1, "findings": 0}
    assert answer.headers["Dry-Run"] == "true"
    assert (await api.get("/v1/relay-maps/mxmap")).status_code == 200


async def test_a_restore_is_guarded_by_the_head(api: httpx.AsyncClient) -> None:
    await put(api, "relay-maps/mxmap", ONE)
    await put(api, "relay-maps/other", ONE)
    moved = await api.post("/v1/revisions/1/restore", headers={"If-Match": '"1"'})
    assert (moved.status_code, moved.json()["current"]) == (412, 2)
    kept = await api.post("/v1/revisions/1/restore", headers={"If-Match": '"2"'})
    assert (kept.status_code, kept.json()["revision"]) == (200, 3)


async def test_credentials_and_states_stay(api: httpx.AsyncClient) -> None:
    await put(api, "relay-maps/mxmap", ONE)
    await put(api, "credentials/acct", LOGIN)
    state = "relay-maps/mxmap/relays/mx1.example.net/state"
    await put(api, state, {"state": "out", "reason": "INC-123"})
    await put(api, "relay-maps/mxmap", TWO)
    assert (await api.post("/v1/revisions/1/restore")).json()["change_count"] == 1
    assert (await api.get("/v1/credentials/acct")).status_code == 200
    (relay,) = (await api.get("/v1/relay-maps/mxmap")).json()["relays"]
    assert (relay["state"], relay["reason"]) == ("out", "INC-123")


async def test_a_label_that_is_gone_or_not_allowed_any_more_refuses_a_restore(
    api: httpx.AsyncClient,
) -> None:
    await put(api, "credentials/acct", LOGIN)
    await put(api, "rules/org-out", RULE | {"action": VIA_LOGIN})
    await api.delete("/v1/rules/org-out")

    async def refused() -> Mapping[str, object]:
        answer = await api.post("/v1/revisions/2/restore")
        assert (answer.status_code, answer.json()["code"]) == (409, "credential-missing")
        assert "canary" not in answer.text
        first: Mapping[str, object] = answer.json()["errors"][0]
        return first

    await put(api, "credentials/acct", LOGIN | {"hosts": ["other.example.net"]})
    assert "acct" in str((await refused())["detail"])
    await api.delete("/v1/credentials/acct")
    assert "acct" in str((await refused())["detail"])
    await put(api, "credentials/acct", LOGIN)
    assert (await api.post("/v1/revisions/2/restore")).status_code == 200


async def test_a_pruned_revision_is_gone(
    api: httpx.AsyncClient, services: Services, clock: Clock
) -> None:
    for number in range(5):
        await put(api, f"relay-maps/m{number}", ONE)
    clock.move(days=1)
    assert await services.store.prune(2, clock.now - timedelta(hours=1)) == 3
    for method, path in (("GET", "/2"), ("POST", "/2/restore"), ("POST", "/0/restore")):
        answer = await api.request(method, f"/v1/revisions{path}")
        assert (answer.status_code, answer.json()["code"]) == (410, "revision-pruned")
    assert (await api.post("/v1/revisions/4/restore")).status_code == 200


async def test_the_journal_holds_no_secret(api: httpx.AsyncClient) -> None:
    await put(api, "credentials/acct", LOGIN)
    await put(api, "credentials/acct", LOGIN | {"password": "canary-second"})
    for number in (1, 2):
        text = (await api.get(f"/v1/revisions/{number}")).text
        assert "credentials/acct" in text
        assert "canary" not in text
