"""Rules over HTTP."""

import httpx
import pytest

from tests.http.samples import PLAIN_MAP, RULE, made, pointers, shop

pytestmark = pytest.mark.anyio

URL = "/v1/rules/shop-out"
EVERY_CONDITION = {
    "clients": ["local", "192.0.2.0/24"],
    "auth_users": ["shop"],
    "senders": ["shop.example", "<>"],
    "recipients": ["*.example.org"],
    "helos": ["mail.shop.example"],
    "tags": ["submission"],
}


async def test_a_rule_is_answered_as_it_was_written(api: httpx.AsyncClient) -> None:
    await made(api, "relay-maps/mxmap", PLAIN_MAP)
    match = EVERY_CONDITION | {"not": {"recipients": ["joe@example.org"]}}
    answer = await made(api, "rules/shop-out", RULE | {"match": match})
    rule = answer.json()
    assert rule["match"] == match
    assert rule["action"] == {
        "kind": "relay",
        "via": "map:mxmap",
        "mail_from": None,
        "helo": None,
        "sources": [],
        "certificate": None,
        "ca": None,
        "tls_verify": True,
        "ttl_s": None,
    }
    assert (rule["priority"], rule["enabled"], rule["open_relay"]) == (1000, True, False)
    again = await api.put(URL, json=rule)
    assert (again.status_code, again.headers["Relay-Changed"]) == (200, "false")


async def test_a_rule_without_match_is_for_local_mail(api: httpx.AsyncClient) -> None:
    answer = await made(api, "rules/all", {"action": {"kind": "relay", "via": "mx"}})
    assert answer.json()["match"] == {}


async def test_spellings_become_canonical(api: httpx.AsyncClient) -> None:
    action = {"kind": "relay", "via": "SMTPS://MX.Example", "mail_from": "@Shop.Example"}
    match = {"recipients": ["Bücher.example"], "clients": ["192.0.2.77/24"]}
    rule = (await made(api, "rules/r", {"match": match, "action": action})).json()
    assert rule["match"] == {
        "recipients": ["xn--bcher-kva.example"],
        "clients": ["192.0.2.0/24"],
    }
    assert rule["action"]["via"] == "smtps://mx.example"
    assert rule["action"]["mail_from"] == "@shop.example"


async def test_another_spelling_is_a_change(api: httpx.AsyncClient) -> None:
    revisions = []
    for via in ("smtps://mx.example:465", "ssl://mx.example", "smtps://mx.example"):
        rule = await made(api, "rules/r", {"action": {"kind": "relay", "via": via}})
        assert rule.json()["action"]["via"] == via
        revisions.append(rule.json()["revision"])
    assert revisions == sorted(set(revisions))


async def test_an_id_is_given_once_and_never_again(api: httpx.AsyncClient) -> None:
    await shop(api)
    first = (await api.get(URL)).json()["id"]
    assert (await api.put(URL, json=RULE | {"priority": 5})).json()["id"] == first
    assert (await api.put(URL, json=RULE | {"id": "r99"})).json()["id"] == first
    await api.delete(URL)
    assert (await made(api, "rules/shop-out", RULE)).json()["id"] not in {first, "r99"}


async def test_a_patch_merges_conditions_and_actions(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.patch(URL, json={"match": {"tags": ["in"], "not": {"helos": ["x.example"]}}})
    assert answer.json()["match"] == {
        "senders": ["shop.example"],
        "tags": ["in"],
        "not": {"helos": ["x.example"]},
    }
    answer = await api.patch(URL, json={"match": {"senders": None, "not": None}})
    assert answer.json()["match"] == {"tags": ["in"]}
    answer = await api.patch(URL, json={"action": {"ttl_s": 3600}})
    assert (answer.json()["action"]["via"], answer.json()["action"]["ttl_s"]) == ("map:mxmap", 3600)


async def test_a_new_kind_drops_the_old_variant(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.patch(URL, json={"action": {"kind": "reject", "message": "no"}})
    assert answer.json()["action"] == {"kind": "reject", "message": "no"}
    refused = await api.patch(URL, json={"action": {"kind": "relay"}})
    assert pointers(refused) == [("body", "/action/via", "missing")]
    refused = await api.patch(URL, json={"action": {"via": "mx"}})
    assert pointers(refused) == [("body", "/action", "unknown-member")]


@pytest.mark.parametrize("name", ["policy", "kind"])
async def test_null_is_refused_where_it_means_nothing(api: httpx.AsyncClient, name: str) -> None:
    await shop(api)
    body = {"action": {"kind": None}} if name == "kind" else {"enabled": None}
    ((where, pointer, _),) = pointers(await api.patch(URL, json=body))
    assert (where, pointer) == ("body", "/action/kind" if name == "kind" else "/enabled")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, ("/action", "missing")),
        ({"action": {"kind": "drop"}}, ("/action", "bad-choice")),
        ({"action": {"via": "mx"}}, ("/action", "missing")),
        ({"action": {"kind": "relay"}}, ("/action/via", "missing")),
        ({"action": {"kind": "reject", "via": "mx"}}, ("/action", "unknown-member")),
        ({"action": {"kind": "relay", "via": "map:none"}}, ("/action/via", "dangling-map")),
        ({"action": {"kind": "relay", "via": "table:none"}}, ("/action/via", "dangling-table")),
        (
            {"action": {"kind": "relay", "via": "mx", "ttl_s": 59}},
            ("/action/ttl_s", "out-of-range"),
        ),
        ({"match": {"clients": []}}, ("/match/clients", "bad-list")),
        ({"match": {"clients": None}}, ("/match/clients", "bad-type")),
        ({"match": {"senders": "shop.example"}}, ("/match/senders", "bad-type")),
        ({"match": {"colour": ["red"]}}, ("/match", "unknown-member")),
        ({"match": {"not": {"not": {}}}}, ("/match/not", "unknown-member")),
        ({"match": {"not": {"clients": ["any"]}}}, ("/match/not/clients", "never-matches")),
        ({"match": {"recipients": ["a.b"] * 1001}}, ("/match/recipients", "bad-list")),
        ({"priority": -1}, ("/priority", "out-of-range")),
        ({"priority": 1_000_001}, ("/priority", "out-of-range")),
        ({"priority": 1.0}, ("/priority", "bad-type")),
        ({"enabled": "true"}, ("/enabled", "bad-type")),
        ({"enabled": 1}, ("/enabled", "bad-type")),
    ],
)
async def test_what_is_no_rule_is_refused(
    api: httpx.AsyncClient, body: dict[str, object], fault: tuple[str, str]
) -> None:
    whole = body if "action" in body or not body else RULE_TO_MX | body
    assert pointers(await api.put(URL, json=whole)) == [("body", *fault)]


RULE_TO_MX = {"action": {"kind": "relay", "via": "mx"}}


async def test_an_open_relay_has_to_be_meant(api: httpx.AsyncClient) -> None:
    body = {"match": {"clients": ["any"]}, "action": {"kind": "relay", "via": "mx"}}
    assert pointers(await api.put(URL, json=body)) == [("body", "/match/clients", "open-relay")]
    assert (await api.put(URL, json=body | {"open_relay": True})).status_code == 201
    assert pointers(await api.patch(URL, json={"open_relay": False})) == [
        ("body", "/match/clients", "open-relay")
    ]


async def test_rules_come_in_the_order_in_which_they_are_tried(api: httpx.AsyncClient) -> None:
    for name, priority in (("b", 10), ("c", 5), ("a", 10), ("d", 2000)):
        await made(api, f"rules/{name}", RULE_TO_MX | {"priority": priority})
    await api.patch("/v1/rules/a", json={"enabled": False})
    order = ["c", "a", "b", "d"]
    assert [rule["name"] for rule in (await api.get("/v1/rules")).json()["items"]] == order
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await api.get("/v1/rules", params=_from(cursor))).json()
        seen += [rule["name"] for rule in page["items"]]
        cursor = page["next_cursor"]
    assert seen == order
    enabled = (await api.get("/v1/rules?enabled=false")).json()["items"]
    assert [rule["name"] for rule in enabled] == ["a"]


def _from(cursor: str) -> dict[str, str]:
    return {"limit": "1"} | ({"cursor": cursor} if cursor else {})


async def test_findings_stand_beside_the_rule(api: httpx.AsyncClient) -> None:
    await made(api, "rules/a", RULE_TO_MX)
    answer = await made(api, "rules/b", RULE_TO_MX)
    assert int(answer.headers["Relay-Findings"]) >= 1
    assert "shadowed-rule" in {finding["code"] for finding in answer.json()["findings"]}
