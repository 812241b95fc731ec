"""Relay maps over HTTP: created, replaced, patched, deleted, listed, and sent back as answered."""

import httpx
import pytest

from tests.http.samples import (
    PLAIN_MAP,
    RELAY_MAP,
    RULE,
    head,
    made,
    pointers,
    shop,
)

pytestmark = pytest.mark.anyio

MAP = "/v1/relay-maps/mxmap"


async def test_put_creates_and_then_replaces(api: httpx.AsyncClient) -> None:
    created = await api.put(MAP, json=PLAIN_MAP)
    assert created.status_code == 201
    assert created.headers["Location"] == MAP
    assert created.headers["Relay-Revision"] == "1"
    assert created.headers["Relay-Changed"] == "true"
    assert created.headers["ETag"].startswith('"1-')
    replaced = await api.put(MAP, json=PLAIN_MAP | {"policy": "random"})
    assert replaced.status_code == 200
    assert "Location" not in replaced.headers
    assert replaced.json()["policy"] == "random"
    assert replaced.json()["created_at"] == created.json()["created_at"]


async def test_what_is_left_out_has_its_default(api: httpx.AsyncClient) -> None:
    answer = (await api.put(MAP, json={"relays": [{"url": "mx1.example.net"}]})).json()
    assert (answer["policy"], answer["hash_key"], answer["description"]) == (
        "round-robin",
        None,
        "",
    )
    (relay,) = answer["relays"]
    assert relay == {
        "name": "mx1.example.net",
        "url": "mx1.example.net",
        "weight": 1,
        "priority": 0,
        "comment": "",
        "state": "active",
        "reason": "",
        "host": "mx1.example.net",
        "port": 25,
        "protocol": "smtp",
        "tls": "opportunistic",
        "credential": None,
    }
    assert [finding["code"] for finding in answer["findings"]] == ["unused-map"]


async def test_an_answer_can_be_sent_back_and_changes_nothing(api: httpx.AsyncClient) -> None:
    await shop(api)
    first = await api.get(MAP)
    again = await api.put(MAP, json=first.json())
    assert (again.status_code, again.headers["Relay-Changed"]) == (200, "false")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.json() == first.json()
    assert await head(api) == 3


async def test_a_relay_keeps_its_name_and_state_when_the_map_is_replaced(
    api: httpx.AsyncClient,
) -> None:
    await made(api, "relay-maps/mxmap", {"relays": [{"name": "one", "url": "smtp://a.example"}]})
    await made(api, "relay-maps/mxmap/relays/one/state", {"state": "out", "reason": "disk"})
    answer = await api.put(MAP, json={"relays": [{"url": "smtp://a.example:25"}]})
    (relay,) = answer.json()["relays"]
    assert (relay["name"], relay["state"], relay["reason"]) == ("one", "out", "disk")


async def test_post_creates_and_never_replaces(api: httpx.AsyncClient) -> None:
    body = PLAIN_MAP | {"name": "mxmap"}
    created = await api.post("/v1/relay-maps", json=body)
    assert (created.status_code, created.headers["Location"]) == (201, MAP)
    again = await api.post("/v1/relay-maps", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "exists")
    assert pointers(await api.post("/v1/relay-maps", json=PLAIN_MAP)) == [
        ("body", "/name", "missing")
    ]


async def test_the_name_in_the_body_may_stand_but_not_differ(api: httpx.AsyncClient) -> None:
    assert (await api.put(MAP, json=PLAIN_MAP | {"name": "mxmap"})).status_code == 201
    for method in ("PUT", "PATCH"):
        answer = await api.request(method, MAP, json=PLAIN_MAP | {"name": "other"})
        assert answer.status_code == 422
    answer = await api.put(MAP, json=PLAIN_MAP | {"name": "other"})
    assert answer.json()["code"] == "name-differs"
    assert pointers(answer) == [("body", "/name", "name-differs")]
    assert "other" not in answer.json()["detail"]


async def test_get_of_what_is_not_there_is_404(api: httpx.AsyncClient) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        answer = await api.request(method, MAP, json=None if method != "PATCH" else {})
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


async def test_a_patch_changes_what_it_names(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.patch(
        MAP,
        json={"policy": "hash", "hash_key": "sender"},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert answer.status_code == 200
    assert (answer.json()["policy"], answer.json()["hash_key"]) == ("hash", "sender")
    assert [relay["name"] for relay in answer.json()["relays"]] == ["mx1", "mx2"]


async def test_null_in_a_patch_removes_where_there_is_something_to_remove(
    api: httpx.AsyncClient,
) -> None:
    body = PLAIN_MAP | {"policy": "hash", "hash_key": "sender", "description": "x"}
    await made(api, "relay-maps/mxmap", body)
    answer = await api.patch(MAP, json={"policy": "random", "hash_key": None, "description": None})
    assert answer.status_code == 200
    assert (answer.json()["hash_key"], answer.json()["description"]) == (None, "")
    refused = await api.patch(MAP, json={"policy": None})
    assert pointers(refused) == [("body", "/policy", "bad-choice")]


async def test_a_patch_is_checked_as_a_whole(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.patch(MAP, json={"policy": "hash"})
    assert pointers(answer) == [("body", "/hash_key", "hash-key")]
    assert (await api.get(MAP)).json()["policy"] == "ratio"


async def test_relays_are_patched_one_by_one(api: httpx.AsyncClient) -> None:
    await shop(api)
    for relays in ([], None, RELAY_MAP["relays"], "x"):
        answer = await api.patch(MAP, json={"relays": relays})
        assert (answer.status_code, answer.json()["code"]) == (422, "patch-relays-one-by-one")
        assert pointers(answer) == [("body", "/relays", "patch-relays-one-by-one")]


async def test_an_empty_patch_changes_nothing(api: httpx.AsyncClient) -> None:
    await shop(api)
    before = await api.get(MAP)
    answer = await api.patch(MAP, json={})
    assert (answer.status_code, answer.headers["Relay-Changed"]) == (200, "false")
    assert answer.json() == before.json()


async def test_delete_answers_204_and_then_404(api: httpx.AsyncClient) -> None:
    await made(api, "relay-maps/mxmap", PLAIN_MAP)
    answer = await api.delete(MAP)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Relay-Revision"] == "2"
    assert (await api.delete(MAP)).status_code == 404


async def test_what_is_in_use_is_not_deleted(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.delete(MAP)
    assert (answer.status_code, answer.json()["code"]) == (409, "in-use")
    assert (answer.json()["users"], answer.json()["more"]) == (["rules/shop-out"], 0)


async def test_of_many_users_twenty_are_named(api: httpx.AsyncClient) -> None:
    await made(api, "relay-maps/mxmap", PLAIN_MAP)
    changes = [
        {"put": f"rules/r{n}", "body": RULE | {"match": {"tags": [f"t{n}"]}}} for n in range(23)
    ]
    assert (await api.post("/v1/changes", json={"changes": changes})).status_code == 200
    problem = (await api.delete(MAP)).json()
    assert (len(problem["users"]), problem["more"]) == (20, 3)


async def test_every_fault_comes_at_once(api: httpx.AsyncClient) -> None:
    body = {
        "policy": "fastest",
        "description": "a\nb",
        "relays": [{"url": "http://x"}, {"weight": 0, "url": "smtp://b"}, {"weight": "1"}],
        "zork": 1,
    }
    assert set(pointers(await api.put(MAP, json=body))) == {
        ("body", "/policy", "bad-choice"),
        ("body", "/description", "bad-text"),
        ("body", "/relays/0/url", "bad-schema"),
        ("body", "/relays/1/weight", "out-of-range"),
        ("body", "/relays/2/url", "missing"),
        ("body", "/relays/2/weight", "bad-type"),
        ("body", "", "unknown-member"),
    }


@pytest.mark.parametrize("weight", ["1", 1.0, True, 0, 1001, None, [1]])
async def test_types_are_strict(api: httpx.AsyncClient, weight: object) -> None:
    body = {"relays": [{"url": "smtp://a.example", "weight": weight}]}
    ((where, pointer, _),) = pointers(await api.put(MAP, json=body))
    assert (where, pointer) == ("body", "/relays/0/weight")


async def test_the_name_of_an_unknown_member_is_not_echoed(api: httpx.AsyncClient) -> None:
    body = {"relays": [{"url": "smtp://a.example", "p4ssw0rd~": 1}], "hunter2/x": 1}
    answer = await api.put(MAP, json=body)
    assert pointers(answer) == [
        ("body", "/relays/0", "unknown-member"),
        ("body", "", "unknown-member"),
    ]
    assert "p4ssw0rd" not in answer.text
    assert "hunter2" not in answer.text


async def test_lists_come_by_name_and_can_be_filtered(api: httpx.AsyncClient) -> None:
    for name, policy in (("b", "random"), ("a", "failover"), ("c", "random")):
        await made(api, f"relay-maps/{name}", PLAIN_MAP | {"policy": policy})
    every = (await api.get("/v1/relay-maps")).json()
    assert [item["name"] for item in every["items"]] == ["a", "b", "c"]
    assert every["next_cursor"] is None
    some = (await api.get("/v1/relay-maps?policy=random")).json()
    assert [item["name"] for item in some["items"]] == ["b", "c"]


async def test_a_message_is_kept_in_the_journal(api: httpx.AsyncClient) -> None:
    message = "INC-123: Grüße"
    headers = {b"Relay-Message": message.encode()}
    await api.put(MAP, json=PLAIN_MAP, headers=headers)
    revision = (await api.get("/v1/revisions/1")).json()
    assert (revision["author"], revision["message"]) == ("admin", message)
    assert [(c["op"], c["subject"]) for c in revision["changes"]] == [
        ("create", "relay-maps/mxmap")
    ]
