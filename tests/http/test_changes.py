"""Many writes as one."""

from collections.abc import Mapping

import httpx
import pytest

from tests.http.samples import PLAIN_MAP, RULE, TABLE, head, made, pointers, shop

pytestmark = pytest.mark.anyio

Change = Mapping[str, object]


async def change(
    api: httpx.AsyncClient, *changes: Change, query: str = "", **headers: str
) -> httpx.Response:
    body = {"changes": changes, "message": "INC-123"}
    return await api.post(f"/v1/changes{query}", json=body, headers=headers)


async def test_all_of_it_is_one_revision_with_one_message(api: httpx.AsyncClient) -> None:
    answer = await change(
        api,
        {"put": "rules/shop-out", "body": RULE},
        {"put": "relay-maps/mxmap", "body": PLAIN_MAP},
        {"put": "relay-maps/mxmap/relays/c", "body": {"url": "smtp://c.example"}},
        {"put": "relay-maps/mxmap/relays/c/state", "body": {"state": "out"}},
        {"delete": "relay-maps/mxmap/relays/a.example"},
        {"put": "tables/by-domain", "body": TABLE},
        {"put": "tables/by-domain/entries/%2A.example.org", "body": {"via": "mx"}},
        {"put": "tables/by-domain/entries/joe.example", "body": {"via": "map:mxmap"}},
    )
    assert (answer.status_code, answer.headers["Relay-Revision"]) == (200, "1")
    assert [(c["op"], c["subject"]) for c in answer.json()["changes"]] == [
        ("create", "rules/shop-out"),
        ("create", "relay-maps/mxmap"),
        ("create", "relay-maps/mxmap/relays/c/state"),
        ("create", "tables/by-domain"),
        ("create", "tables/by-domain/entries/*.example.org"),
        ("create", "tables/by-domain/entries/joe.example"),
    ]
    revision = (await api.get("/v1/revisions/1")).json()
    assert (revision["message"], revision["change_count"]) == ("INC-123", 6)
    relays = (await api.get("/v1/relay-maps/mxmap")).json()["relays"]
    assert [(relay["name"], relay["state"]) for relay in relays] == [
        ("b.example", "active"),
        ("c", "out"),
    ]


async def test_what_cancels_out_makes_no_revision(api: httpx.AsyncClient) -> None:
    answer = await change(
        api,
        {"put": "relay-maps/x", "body": PLAIN_MAP},
        {"delete": "relay-maps/x"},
    )
    assert (answer.status_code, answer.headers["Relay-Changed"]) == (200, "false")
    assert answer.json()["changes"] == []
    assert await head(api) == 0


async def test_the_end_is_checked_and_not_the_steps(api: httpx.AsyncClient) -> None:
    await shop(api)
    renamed = await change(
        api,
        {"delete": "relay-maps/mxmap"},
        {"put": "relay-maps/other", "body": PLAIN_MAP},
        {"put": "rules/shop-out", "body": RULE | {"action": {"kind": "relay", "via": "map:other"}}},
    )
    assert renamed.status_code == 200


async def test_every_fault_of_every_body_comes_at_once(api: httpx.AsyncClient) -> None:
    answer = await change(
        api,
        {"put": "relay-maps/x", "body": {"relays": [{"url": "http://x"}], "zork": 1}},
        {"put": "rules/r", "body": {"action": {"kind": "relay", "via": "smtp://a b"}}},
        {"put": "credentials/c", "body": {}},
        {"delete": "nothing"},
        {"put": "relay-maps/y", "body": PLAIN_MAP | {"name": "z"}},
        {"put": "relay-maps/UP", "body": PLAIN_MAP},
    )
    assert answer.status_code == 422
    assert set(pointers(answer)) == {
        ("body", "/changes/0/body/relays/0/url", "bad-schema"),
        ("body", "/changes/0/body", "unknown-member"),
        ("body", "/changes/1/body/action/via", "bad-relay-url"),
        ("body", "/changes/2/put", "bad-target"),
        ("body", "/changes/3/delete", "bad-target"),
        ("body", "/changes/4/body/name", "name-differs"),
        ("body", "/changes/5/put", "bad-name"),
    }
    assert "zork" not in answer.text


async def test_one_bad_write_undoes_all(api: httpx.AsyncClient) -> None:
    answer = await change(
        api,
        {"put": "relay-maps/mxmap", "body": PLAIN_MAP},
        {"put": "relay-maps/mxmap/relays/a.example/state", "body": {"state": "active"}},
        {"put": "rules/r", "body": {"action": {"kind": "relay", "via": "map:none"}}},
    )
    assert pointers(answer) == [("body", "/changes/2/body/action/via", "dangling-map")]
    assert await head(api) == 0
    assert (await api.get("/v1/relay-maps/mxmap")).status_code == 404


async def test_a_single_change_has_its_place_too(api: httpx.AsyncClient) -> None:
    body = {"action": {"kind": "relay", "via": "map:none"}}
    answer = await change(api, {"put": "rules/r", "body": body})
    assert pointers(answer) == [("body", "/changes/0/body/action/via", "dangling-map")]


async def test_faults_of_members_together_have_their_place(api: httpx.AsyncClient) -> None:
    twice = {"relays": [{"name": "a", "url": "smtp://a"}, {"name": "b", "url": "smtp://a:25"}]}
    open_relay = {"match": {"clients": ["any"]}, "action": {"kind": "relay", "via": "mx"}}
    answer = await change(
        api,
        {"put": "tables/t", "body": {"key": "sender"}},
        {"put": "relay-maps/x", "body": twice},
    )
    assert pointers(answer) == [("body", "/changes/1/body/relays/1/url", "duplicate-relay")]
    answer = await change(
        api, {"put": "tables/t", "body": {"key": "sender"}}, {"put": "rules/r", "body": open_relay}
    )
    assert pointers(answer) == [("body", "/changes/1/body/match/clients", "open-relay")]


async def test_keys_are_read_as_keys_of_the_table_as_it_is_by_then(
    api: httpx.AsyncClient,
) -> None:
    await made(api, "tables/t", {"key": "sender"})
    answer = await change(
        api,
        {"put": "tables/t", "body": {"key": "recipient-domain"}},
        {"put": "tables/t/entries/joe@example.org", "body": {"via": "mx"}},
    )
    assert pointers(answer) == [("body", "/changes/1/put", "bad-key")]
    answer = await change(
        api, {"delete": "tables/t"}, {"put": "tables/t/entries/example.org", "body": {"via": "mx"}}
    )
    assert answer.status_code == 404


async def test_a_delete_of_nothing_is_404(api: httpx.AsyncClient) -> None:
    answer = await change(api, {"put": "relay-maps/x", "body": PLAIN_MAP}, {"delete": "rules/none"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert await head(api) == 0


async def test_the_head_guards_the_whole(api: httpx.AsyncClient) -> None:
    await shop(api)
    tag = (await api.get("/v1/rules/shop-out")).headers["ETag"]
    delete = {"delete": "rules/shop-out"}
    for stale in ('"2"', '"2-abcd"', '"3-abcd"', 'W/"3"'):
        answer = await change(api, delete, **{"If-Match": stale})
        assert (answer.status_code, answer.json()["current"]) == (412, 3)
    dry = await change(api, delete, query="?dry_run=true", **{"If-Match": tag})
    assert dry.status_code == 200
    assert (await change(api, delete, **{"If-Match": '"3"'})).status_code == 200


@pytest.mark.parametrize(
    "write",
    [
        {},
        {"put": "rules/r"},
        {"body": {}},
        {"put": "rules/r", "body": {}, "delete": "rules/r"},
        {"delete": "rules/r", "body": {}},
    ],
)
async def test_a_write_is_a_put_with_a_body_or_a_delete(
    api: httpx.AsyncClient, write: Change
) -> None:
    assert pointers(await change(api, write)) == [("body", "/changes/0", "bad-write")]


@pytest.mark.parametrize("count", [0, 1001])
async def test_there_are_one_to_a_thousand_writes(api: httpx.AsyncClient, count: int) -> None:
    answer = await change(api, *[{"delete": "rules/r"}] * count)
    assert pointers(answer) == [("body", "/changes", "bad-list")]


async def test_a_thousand_writes_are_one_edit(api: httpx.AsyncClient) -> None:
    rule = {"action": {"kind": "relay", "via": "mx"}}
    writes: list[Change] = [
        {"put": f"rules/r{n}", "body": rule | {"match": {"tags": [f"t{n}"]}}} for n in range(1000)
    ]
    answer = await change(api, *writes)
    assert (answer.status_code, len(answer.json()["changes"])) == (200, 1000)
    assert await head(api) == 1


async def test_what_is_not_there_is_said_of_the_change_that_names_it(
    api: httpx.AsyncClient,
) -> None:
    await shop(api)
    for missing in (
        {"delete": "rules/none"},
        {"delete": "relay-maps/none/relays/a"},
        {"put": "tables/none/entries/a.example", "body": {"via": "mx"}},
        {"put": "relay-maps/mxmap/relays/none/state", "body": {"state": "active"}},
    ):
        for before in ([], [{"delete": "rules/shop-out"}]):
            answer = await change(api, *before, missing)
            assert answer.status_code == 404
            member = "delete" if "delete" in missing else "put"
            place = f"/changes/{len(before)}/{member}"
            assert pointers(answer) == [("body", place, "not-found")]


async def test_the_key_of_an_entry_is_compared_as_it_means(api: httpx.AsyncClient) -> None:
    await made(api, "tables/t", {"key": "recipient-domain"})
    for key, given in (
        ("EXAMPLE.org", "example.ORG"),
        ("b%C3%BCcher.example", "xn--bcher-kva.example"),
    ):
        body = {"via": "mx", "key": given}
        assert (
            await change(api, {"put": f"tables/t/entries/{key}", "body": body})
        ).status_code == 200
    other = {"put": "tables/t/entries/a.example", "body": {"via": "mx", "key": "b.example"}}
    assert pointers(await change(api, other)) == [("body", "/changes/0/body/key", "name-differs")]


async def test_a_map_that_is_put_twice_keeps_the_names_of_its_relays(
    api: httpx.AsyncClient,
) -> None:
    named = {"relays": [{"name": "a", "url": "smtp://nm.example"}]}
    again = {"relays": [{"url": "smtp://nm.example", "weight": 2}]}
    puts = [{"put": "relay-maps/nm", "body": body} for body in (named, again)]
    assert (await change(api, *puts)).status_code == 200
    assert (await api.get("/v1/relay-maps/nm")).json()["relays"][0]["name"] == "a"
