"""MTAs over HTTP: written, read, how they stand, what they can do, what their files would be."""

import re

import httpx
import pytest

from app.server.api.services import Services
from app.server.storage import MtaRow
from app.wire import LineState, MtaState, TombstoneMessage
from tests.http.agents import Agent
from tests.http.conftest import Clock

pytestmark = pytest.mark.anyio

MAP = {"relays": [{"url": "smtp://mx1.example.net"}, {"url": "smtp://mx2.example.net"}]}
ONE = {"relays": [{"url": "smtp://mx1.example.net"}]}
RULE = {"match": {"recipients": ["example.org"]}, "action": {"kind": "relay", "via": "map:mxmap"}}
LOGIN = {"username": "me", "password": "canary-7c1f", "hosts": ["smtp.example.net"]}
VIA_LOGIN = {"kind": "relay", "via": "tls+auth://acct@smtp.example.net:587"}


async def put(api: httpx.AsyncClient, path: str, body: object) -> httpx.Response:
    answer = await api.put(f"/v1/{path}", json=body)
    assert answer.is_success, answer.text
    return answer


async def test_an_mta_is_created_replaced_read_and_forgotten(api: httpx.AsyncClient) -> None:
    made = await api.put("/v1/mtas/mx-out-1", json={"description": "first"})
    assert (made.status_code, made.headers["Location"]) == (201, "/v1/mtas/mx-out-1")
    assert made.json()["driver"] == "opensmtpd"
    again = await api.put("/v1/mtas/mx-out-1", json=made.json() | {"description": "second"})
    assert (again.status_code, again.json()["description"]) == (200, "second")
    assert again.json()["created_at"] == made.json()["created_at"]
    assert (await api.get("/v1/mtas/mx-out-1")).json() == again.json()
    assert [each["name"] for each in (await api.get("/v1/mtas")).json()["items"]] == ["mx-out-1"]
    assert (await api.delete("/v1/mtas/mx-out-1")).status_code == 204
    for path in ("", "/status", "/capabilities", "/preview"):
        assert (await api.get(f"/v1/mtas/mx-out-1{path}")).status_code == 404
    assert (await api.delete("/v1/mtas/mx-out-1")).status_code == 404


async def test_if_none_match_only_creates(api: httpx.AsyncClient) -> None:
    only = {"If-None-Match": "*"}
    for query in ("?dry_run=true", ""):
        made = await api.put(f"/v1/mtas/mx-out-1{query}", json={}, headers=only)
        assert made.status_code == 201
    for query in ("?dry_run=true", ""):
        again = await api.put(f"/v1/mtas/mx-out-1{query}", json={}, headers=only)
        assert again.status_code == 412


async def test_a_dry_run_stores_no_mta(api: httpx.AsyncClient) -> None:
    tried = await api.put("/v1/mtas/mx-out-1?dry_run=true", json={})
    assert (tried.status_code, tried.headers["Dry-Run"]) == (201, "true")
    assert "Location" not in tried.headers
    assert (await api.get("/v1/mtas")).json()["items"] == []
    await put(api, "mtas/mx-out-1", {})
    assert (await api.delete("/v1/mtas/mx-out-1?dry_run=true")).status_code == 200
    assert (await api.get("/v1/mtas/mx-out-1")).status_code == 200


async def test_a_patch_changes_what_it_names(api: httpx.AsyncClient) -> None:
    await put(api, "mtas/mx-out-1", {"description": "first"})
    patched = await api.patch(
        "/v1/mtas/mx-out-1",
        content=b'{"description":"moved"}',
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert (patched.status_code, patched.json()["description"]) == (200, "moved")
    assert (await api.patch("/v1/mtas/mx-out-1", json={})).json() == patched.json()
    for body in ({"description": None}, {"driver": "exim"}, {"driver": None}, {"paths": "/etc"}):
        refused = await api.patch("/v1/mtas/mx-out-1", json=body)
        assert refused.status_code == 422, body
    other = await api.patch("/v1/mtas/mx-out-1", json={"name": "mx-out-2"})
    assert (other.status_code, other.json()["code"]) == (422, "name-differs")
    assert (await api.patch("/v1/mtas/nobody", json={})).status_code == 404


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("UPPER", {}),
        ("x" * 64, {}),
        ("a_b", {}),
        ("mx", {"driver": "postfix"}),
        ("mx", {"description": "a\nb"}),
        ("mx", {"description": "x" * 201}),
        ("mx", {"description": 7}),
        ("mx", {"name": "other"}),
        ("mx", {"smtpd": "/bin/sh"}),
        ("mx", []),
    ],
)
async def test_what_is_no_mta_is_refused(api: httpx.AsyncClient, name: str, body: object) -> None:
    answer = await api.put(f"/v1/mtas/{name}", json=body)
    assert answer.status_code == 422
    assert (await api.get("/v1/mtas")).json()["items"] == []


async def test_how_an_mta_stands_follows_pushes_and_reports(
    api: httpx.AsyncClient, clock: Clock
) -> None:
    async def state() -> str:
        answer = await api.get("/v1/mtas/mx-out-1/status")
        assert "ETag" not in answer.headers
        return str(answer.json()["state"])

    agent = await Agent.of(api, "mx-out-1")
    assert await state() == "never-seen"
    await agent.tell(addresses=["192.0.2.25"], certificates=["shop"], cas=["internal"])
    assert await state() == "live"
    await put(api, "relay-maps/mxmap", MAP)
    assert await state() == "live", "nothing was pushed"
    await api.post("/v1/pushes")
    assert await state() == "behind"
    await agent.apply()
    status = (await api.get("/v1/mtas/mx-out-1/status")).json()
    assert status["state"] == "live"
    assert status["wanted"]["model_digest"] == status["observed"]["model_digest"]
    for seen in (MtaState.DRIFTED, MtaState.STOPPED, MtaState.LIVE):
        await agent.tell(state=seen, detail="as it is")
        assert await state() == seen.value
    clock.move(seconds=91)
    assert await state() == "unknown"


async def test_an_mta_that_was_rolled_back_is_behind(api: httpx.AsyncClient) -> None:
    agent = await Agent.of(api, "mx-out-1")
    await api.post("/v1/pushes")
    await agent.apply()
    await put(api, "relay-maps/mxmap", MAP)
    await api.post("/v1/pushes")
    wanted = await agent.ask()
    assert wanted is not None
    await agent.end(wanted, LineState.ROLLED_BACK)
    status = (await api.get("/v1/mtas/mx-out-1/status")).json()
    assert (status["state"], status["wanted"]["revision"]) == ("behind", 1)
    assert status["observed"]["revision"] == 0


async def test_an_mta_that_is_made_anew_is_wanted_nothing_of(
    api: httpx.AsyncClient, clock: Clock
) -> None:
    agent = await Agent.of(api, "mx-out-1")
    await api.post("/v1/pushes")
    await agent.apply()
    clock.move(seconds=1)
    await api.delete("/v1/mtas/mx-out-1")
    other = await Agent.of(api, "mx-out-1")
    assert await other.ask() is None
    assert (await api.get("/v1/mtas/mx-out-1/status")).json()["wanted"] is None


async def test_what_a_version_can_do_is_told(api: httpx.AsyncClient) -> None:
    agent = await Agent.of(api, "mx-out-1")
    unknown = (await api.get("/v1/mtas/mx-out-1/capabilities")).json()
    assert unknown["version"] is None
    agent.version = "6.8.0p2"
    await agent.tell()
    old = (await api.get("/v1/mtas/mx-out-1/capabilities")).json()
    verdicts = {row["code"]: row["verdict"] for row in old["items"]}
    assert (old["version"], verdicts["certificate"]) == ("6.8.0p2", "refused")
    assert verdicts["null-mx"] == "differs"
    agent.version = "7.8.0"
    await agent.tell()
    new = (await api.get("/v1/mtas/mx-out-1/capabilities")).json()
    assert "certificate" not in {row["code"] for row in new["items"]}
    assert len(unknown["items"]) > max(len(old["items"]), len(new["items"]))


async def conf_of(api: httpx.AsyncClient, query: str = "") -> str:
    answer = await api.get(f"/v1/mtas/mx-out-1/preview{query}")
    assert answer.status_code == 200, answer.text
    files = {file["name"]: file["content"] for file in answer.json()["files"]}
    return str(files["relaymap.conf"])


async def test_a_preview_needs_a_version(api: httpx.AsyncClient) -> None:
    await put(api, "mtas/mx-out-1", {})
    answer = await api.get("/v1/mtas/mx-out-1/preview")
    assert (answer.status_code, answer.json()["code"]) == (409, "mta-never-seen")
    assert (await api.get("/v1/mtas/mx-out-1/preview?version=6.8")).status_code == 200
    for version in ("6", "six", "6.8.0", "66666.8", ""):
        refused = await api.get(f"/v1/mtas/mx-out-1/preview?version={version}")
        assert refused.status_code == 422


async def test_a_preview_shows_the_files_and_no_secret(api: httpx.AsyncClient) -> None:
    await put(api, "credentials/acct", LOGIN)
    await put(api, "rules/org-out", RULE | {"action": VIA_LOGIN})
    await put(api, "mtas/mx-out-1", {})
    answer = await api.get("/v1/mtas/mx-out-1/preview?version=7.8")
    files: dict[str, str] = {f["name"]: f["content"] for f in answer.json()["files"]}
    assert 'action "rm-r1"' in files["relaymap.conf"]
    assert str(LOGIN["password"]) not in answer.text
    secrets = [content for content in files.values() if "acct" in content]
    assert any("********" in text for text in secrets)


async def test_a_preview_tells_what_differs_from_what_is_live(api: httpx.AsyncClient) -> None:
    agent = await Agent.of(api, "mx-out-1")
    await agent.tell(addresses=["192.0.2.25"])
    await put(api, "relay-maps/mxmap", MAP)
    await put(api, "rules/org-out", RULE)
    await api.post("/v1/pushes")
    await agent.apply()

    async def preview() -> tuple[str | None, dict[str, str]]:
        answer = (await api.get("/v1/mtas/mx-out-1/preview?diff=true")).json()
        return answer["reload"], {f["name"]: f["diff"] for f in answer["files"] if f["diff"]}

    assert await preview() == ("none", {})
    await put(api, "relay-maps/mxmap", ONE)
    reload, differing = await preview()
    assert reload == "table-update"
    (diff,) = differing.values()
    assert "-smtp://mx2.example.net" in diff
    await api.delete("/v1/rules/org-out")
    reload, differing = await preview()
    assert reload == "restart"
    assert '+action "rm-r1" relay' in differing["relaymap.conf"], "it is kept for queued mail"


async def test_a_preview_of_what_cannot_be_said_tells_every_reason(api: httpx.AsyncClient) -> None:
    await put(api, "mtas/mx-out-1", {})
    hashed = MAP | {"policy": "hash", "hash_key": "recipient"}
    await put(api, "relay-maps/mxmap", hashed)
    await put(api, "rules/org-out", RULE)
    await put(api, "rules/org-out-2", RULE | {"match": {"recipients": ["example.com"]}})
    answer = await api.get("/v1/mtas/mx-out-1/preview?version=7.8")
    assert (answer.status_code, answer.json()["code"]) == (422, "not-expressible")
    assert len(answer.json()["errors"]) == 2


async def test_tombstones_of_the_agent_are_in_the_preview(api: httpx.AsyncClient) -> None:
    agent = await Agent.of(api, "mx-out-1")
    await put(api, "rules/org-out", RULE | {"action": {"kind": "relay", "via": "smtp://mx1.net"}})
    before = await conf_of(api, "?version=7.8")
    (line,) = re.findall(r'^action "rm-r1" (.+)$', before, re.MULTILINE)
    stones = [
        TombstoneMessage(action="rm-r9", text=line, relays=[], retire_at=2**32),
        TombstoneMessage(action="rm-r8", text="mda /bin/sh", relays=[], retire_at=2**32),
    ]
    await agent.tell(tombstones=stones)
    conf = await conf_of(api)
    assert f'action "rm-r9" {line}' in conf
    assert "/bin/sh" not in conf


async def test_if_match_on_an_mta_is_met_by_its_being_there_alone(api: httpx.AsyncClient) -> None:
    url = "/v1/mtas/mx-out-1"
    absent = await api.put(url, json={}, headers={"If-Match": "*"})
    assert (absent.status_code, absent.json()["code"]) == (412, "nothing-matches")
    assert (await api.put(url, json={})).headers["Relay-Changed"] == "true"
    assert (await api.put(url, json={}, headers={"If-Match": "*"})).status_code == 200
    tag = {"If-Match": '"1-abcd"'}
    assert (await api.put(url, json={}, headers=tag)).status_code == 412
    change = {"description": "x"}
    assert (await api.patch(url, json=change, headers=tag)).status_code == 412
    assert (await api.delete(url, headers=tag)).status_code == 412
    assert (await api.get(url)).json()["description"] == ""
    assert (await api.put(url, json={}, headers={"If-None-Match": "odd"})).status_code == 422
    assert (await api.put(url, json={}, headers={"If-None-Match": "*"})).status_code == 412
    assert (await api.put(url, json={}, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_what_changes_nothing_of_an_mta_says_so(api: httpx.AsyncClient) -> None:
    await put(api, "mtas/mx-out-1", {"description": "x"})
    same = await put(api, "mtas/mx-out-1", {"description": "x"})
    assert same.headers["Relay-Changed"] == "false"
    patched = await api.patch("/v1/mtas/mx-out-1", json={"description": "x"})
    assert patched.headers["Relay-Changed"] == "false"
    patched = await api.patch("/v1/mtas/mx-out-1", json={"description": "y"})
    assert patched.headers["Relay-Changed"] == "true"


async def test_a_dry_run_is_refused_where_the_real_one_would_be(
    api: httpx.AsyncClient, services: Services
) -> None:
    now = services.now()
    for number in range(1000):
        services.fleet.joined(MtaRow(f"m{number}", "opensmtpd", "", now, now))
    for query in ("?dry_run=true", ""):
        answer = await api.put(f"/v1/mtas/over{query}", json={})
        assert (answer.status_code, answer.json()["code"]) == (409, "limit-reached")
