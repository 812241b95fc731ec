"""Relays one by one, their states, and where each is used."""

import httpx
import pytest

from tests.http.samples import PLAIN_MAP, bearer, head, made, pointers, shop

pytestmark = pytest.mark.anyio

MAP = "/v1/relay-maps/mxmap"
RELAY = f"{MAP}/relays/mx1"


async def names(api: httpx.AsyncClient) -> list[str]:
    return [relay["name"] for relay in (await api.get(MAP)).json()["relays"]]


async def test_a_new_relay_goes_to_the_end_and_a_replaced_one_stays(
    api: httpx.AsyncClient,
) -> None:
    await shop(api)
    created = await api.put(f"{MAP}/relays/mx3", json={"url": "smtps://mx3.example.net"})
    assert (created.status_code, created.headers["Location"]) == (201, f"{MAP}/relays/mx3")
    replaced = await api.put(RELAY, json={"url": "smtps://mx1.example.net", "weight": 2})
    assert (replaced.status_code, replaced.json()["weight"]) == (200, 2)
    assert await names(api) == ["mx1", "mx2", "mx3"]


async def test_a_relay_and_its_map_share_a_tag(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.put(RELAY, json={"url": "smtps://mx1.example.net"})
    tags = {answer.headers["ETag"]}
    for path in (MAP, RELAY, f"{MAP}/relays/mx2"):
        tags.add((await api.get(path)).headers["ETag"])
    assert tags == {answer.headers["ETag"]}
    stale = await api.delete(RELAY, headers={"If-Match": '"2-0000"'})
    assert (stale.status_code, stale.json()["current"]) == (412, 4)


async def test_a_patch_of_a_relay_keeps_its_other_members(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.patch(RELAY, json={"comment": "rack 4"})
    assert (answer.json()["weight"], answer.json()["comment"]) == (3, "rack 4")
    answer = await api.patch(RELAY, json={"comment": None})
    assert answer.json()["comment"] == ""
    assert pointers(await api.patch(RELAY, json={"url": "smtp://a b"})) == [
        ("body", "/url", "bad-relay-url")
    ]


async def test_an_answer_can_be_sent_back(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.put(RELAY, json=(await api.get(RELAY)).json())
    assert (answer.status_code, answer.headers["Relay-Changed"]) == (200, "false")


async def test_the_last_relay_of_a_map_stays(api: httpx.AsyncClient) -> None:
    await made(api, "relay-maps/mxmap", {"relays": [{"name": "mx1", "url": "smtp://a.example"}]})
    answer = await api.delete(RELAY)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "bad-size")
    assert await names(api) == ["mx1"]


async def test_two_relays_that_mean_the_same_are_refused(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.put(f"{MAP}/relays/mx9", json={"url": "ssl://mx2.example.net:465"})
    assert pointers(answer) == [("body", "/url", "duplicate-relay")]


async def test_names_fold_and_must_agree(api: httpx.AsyncClient) -> None:
    await shop(api)
    assert (await api.get(f"{MAP}/relays/MX1")).json()["name"] == "mx1"
    body = {"url": "smtps://mx1.example.net", "name": "mx2"}
    assert (await api.put(RELAY, json=body)).json()["code"] == "name-differs"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{MAP}/relays/none"),
        ("PATCH", f"{MAP}/relays/none"),
        ("DELETE", f"{MAP}/relays/none"),
        ("PUT", f"{MAP}/relays/none/state"),
        ("PUT", "/v1/relay-maps/none/relays/mx1"),
        ("PUT", "/v1/relay-maps/none/relays/mx1/state"),
        ("GET", "/v1/relay-maps/none/relays/mx1"),
        ("DELETE", "/v1/relay-maps/none/relays/mx1"),
    ],
)
async def test_what_is_not_there_is_404(api: httpx.AsyncClient, method: str, path: str) -> None:
    await shop(api)
    state = {"state": "out"}
    body = state if path.endswith("state") else {"url": "smtp://x.example"}
    before = await head(api)
    answer = await api.request(method, path, json=body if method in {"PUT", "PATCH"} else None)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert await head(api) == before


async def test_a_relay_is_taken_out_and_back(api: httpx.AsyncClient) -> None:
    await shop(api)
    out = await api.put(f"{RELAY}/state", json={"state": "out", "reason": "disk"})
    assert out.json() == {"state": "out", "reason": "disk"}
    question = {"recipient": "joe@example.net", "sender": "ann@shop.example"}
    relays = [(await api.post("/v1/resolve", json=question)).json()["relay"] for _ in range(4)]
    assert relays == ["mx2"] * 4
    back = await api.put(f"{RELAY}/state", json={"state": "active"})
    assert back.json() == {"state": "active", "reason": ""}
    again = await api.put(f"{RELAY}/state", json={"state": "active"})
    assert again.headers["Relay-Changed"] == "false"


async def test_a_state_survives_every_write_of_the_map(api: httpx.AsyncClient) -> None:
    await shop(api)
    await api.put(f"{RELAY}/state", json={"state": "out"})
    await api.patch(MAP, json={"description": "x"})
    await api.patch(RELAY, json={"weight": 9})
    whole = (await api.get(MAP)).json()
    await api.put(MAP, json=whole)
    assert (await api.get(RELAY)).json()["state"] == "out"
    await api.delete(RELAY)
    await api.put(RELAY, json={"url": "smtps://mx1.example.net"})
    assert (await api.get(RELAY)).json()["state"] == "active", "it went with its relay"


async def test_states_need_operate_and_nothing_else(api: httpx.AsyncClient) -> None:
    await shop(api)
    writer, operator = await bearer(api, "routing:write"), await bearer(api, "operate")
    body = {"state": "out"}
    assert (await api.put(f"{RELAY}/state", json=body, headers=writer)).status_code == 403
    assert (await api.put(f"{RELAY}/state", json=body, headers=operator)).status_code == 200
    assert (await api.patch(RELAY, json={}, headers=operator)).status_code == 403
    change = {"changes": [{"put": "relay-maps/mxmap/relays/mx1/state", "body": body}]}
    for headers in (writer, operator):
        assert (await api.post("/v1/changes", json=change, headers=headers)).status_code == 403
    both = await bearer(api, "routing:write", "operate")
    assert (await api.post("/v1/changes", json=change, headers=both)).status_code == 200


async def test_where_is_a_relay_used(api: httpx.AsyncClient) -> None:
    await shop(api)
    await made(api, "relay-maps/other", PLAIN_MAP)
    await api.put(f"{RELAY}/state", json={"state": "out"})

    async def found(query: str) -> list[tuple[str, str]]:
        items = (await api.get(f"/v1/relays?{query}")).json()["items"]
        return [(item["relay_map"], item["name"]) for item in items]

    assert await found("") == [
        ("mxmap", "mx1"),
        ("mxmap", "mx2"),
        ("other", "a.example"),
        ("other", "b.example"),
    ]
    assert await found("host=MX2.example.net") == [("mxmap", "mx2")]
    assert await found("credential=acct") == [("mxmap", "mx1")]
    assert await found("state=out") == [("mxmap", "mx1")]
    assert await found("state=active&host=a.example") == [("other", "a.example")]
    assert pointers(await api.get("/v1/relays?state=gone")) == [("query", "/state", "bad-choice")]
