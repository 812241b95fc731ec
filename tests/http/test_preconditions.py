"""Conditional requests and dry runs (RFC 9110 13): nobody overwrites what they have not seen."""

from dataclasses import replace

import httpx
import pytest

from app.server.api.app import create_app
from app.server.api.preconditions import parse_tags
from app.server.api.services import Options, Services
from tests.http.conftest import BASE
from tests.http.samples import CREDENTIAL, PLAIN_MAP, RULE, TABLE, head, made, pointers, shop
from tests.vectors.rows import Row, ids, rows

pytestmark = pytest.mark.anyio

ROWS = rows("etags")
MAP = "/v1/relay-maps/mxmap"
OTHER = PLAIN_MAP | {"description": "other"}


def header(row: Row, tag: str) -> str:
    return row["header"].replace("CURRENT", tag)


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
async def test_a_header_decides_as_the_rfc_says(row: Row, api: httpx.AsyncClient) -> None:
    tag = '"none"'
    if row["exists"] == "yes":
        tag = (await made(api, "relay-maps/mxmap", PLAIN_MAP)).headers["ETag"]
    name, _, value = header(row, tag).partition(": ")
    before = await head(api)
    body = OTHER if row["method"] == "PUT" else None
    answer = await api.request(row["method"], MAP, json=body, headers={name: value})
    assert answer.status_code == int(row["status"]), answer.text
    if row["status"] in {"412", "304"}:
        assert await head(api) == before


@pytest.mark.parametrize(
    "path", ["relay-maps/mxmap", "rules/shop-out", "tables/t", "credentials/acct"]
)
async def test_every_kind_of_resource_has_a_tag_that_moves_with_it(
    api: httpx.AsyncClient, path: str
) -> None:
    await shop(api)
    await made(api, "tables/t", TABLE)
    answer = await api.get(f"/v1/{path}")
    first, body = answer.headers["ETag"], answer.json()
    revision, _, history = first.strip('"').partition("-")
    assert (int(revision), len(history)) == (body["revision"], 4)
    changed = {"hosts": ["*.example.net"]} if "credentials" in path else {"description": "new"}
    second = (await api.put(f"/v1/{path}", json=body | changed)).headers["ETag"]
    assert second != first
    stale = await api.put(f"/v1/{path}", json=body, headers={"If-Match": first})
    assert (stale.status_code, stale.json()["code"]) == (412, "revision-moved")
    assert f'"{stale.json()["current"]}-{history}"' == second
    fresh = await api.put(f"/v1/{path}", json=body, headers={"If-Match": f'"x", {second}'})
    assert fresh.status_code == 200
    unchanged = await api.get(f"/v1/{path}", headers={"If-None-Match": fresh.headers["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["ETag"] == fresh.headers["ETag"]


async def test_another_life_of_the_database_has_other_tags(
    api: httpx.AsyncClient,
) -> None:
    tag = (await made(api, "relay-maps/mxmap", PLAIN_MAP)).headers["ETag"]
    other = tag[:-5] + ("zzzz" if "zzzz" not in tag else "yyyy") + '"'
    answer = await api.put(MAP, json=OTHER, headers={"If-Match": other})
    assert answer.status_code == 412


@pytest.mark.parametrize("value", ["41", '"', "W/", '"a" "b"', '"a",,"b"', "**", '"a"b', ""])
@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
async def test_what_is_no_list_of_tags_is_refused(
    api: httpx.AsyncClient, name: str, value: str
) -> None:
    answer = await api.put(MAP, json=PLAIN_MAP, headers={name: value})
    assert pointers(answer) == [("header", f"/{name}", "bad-tag")]
    assert await head(api) == 0


async def test_the_settings_may_demand_a_precondition(services: Services, admin_token: str) -> None:
    strict = replace(services, options=Options(require_if_match=True))
    transport = httpx.ASGITransport(app=create_app(strict))
    headers = {"Authorization": f"Bearer {admin_token}"}
    async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as api:
        refused = await api.put(MAP, json=PLAIN_MAP)
        assert (refused.status_code, refused.json()["code"]) == (428, "precondition-needed")
        created = await api.put(MAP, json=PLAIN_MAP, headers={"If-None-Match": "*"})
        assert created.status_code == 201
        tag = {"If-Match": created.headers["ETag"]}
        for method, body in (("PATCH", {}), ("PUT", PLAIN_MAP), ("DELETE", None)):
            assert (await api.request(method, MAP, json=body)).status_code == 428
        state = f"{MAP}/relays/a.example/state"
        assert (await api.put(state, json={"state": "out"})).status_code == 428
        assert (await api.put(state, json={"state": "out"}, headers=tag)).status_code == 200
        changes = {"changes": [{"delete": "relay-maps/mxmap"}]}
        assert (await api.post("/v1/changes", json=changes)).status_code == 428
        assert (await api.delete(MAP, headers=tag)).status_code == 204


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "relay-maps/new", PLAIN_MAP, 201),
        ("POST", "relay-maps", PLAIN_MAP | {"name": "new"}, 201),
        ("PUT", "relay-maps/mxmap", PLAIN_MAP, 200),
        ("PATCH", "relay-maps/mxmap", {"policy": "random"}, 200),
        ("DELETE", "rules/shop-out", None, 200),
        ("PUT", "relay-maps/mxmap/relays/new", {"url": "smtp://new.example"}, 201),
        ("PATCH", "relay-maps/mxmap/relays/mx1", {"weight": 9}, 200),
        ("DELETE", "relay-maps/mxmap/relays/mx1", None, 200),
        ("PUT", "relay-maps/mxmap/relays/mx1/state", {"state": "out"}, 200),
        ("PUT", "tables/new", TABLE, 201),
        ("PUT", "tables/t/entries/b.example", {"via": "mx"}, 201),
        ("DELETE", "tables/t/entries/a.example", None, 200),
        ("DELETE", "tables/t", None, 200),
        ("PUT", "rules/new", RULE, 201),
        ("PUT", "credentials/new", CREDENTIAL, 201),
        ("POST", "changes", {"changes": [{"delete": "rules/shop-out"}]}, 200),
    ],
)
async def test_a_dry_run_answers_as_the_real_one_and_stores_nothing(
    api: httpx.AsyncClient,
    services: Services,
    method: str,
    path: str,
    body: object,
    status: int,
) -> None:
    await shop(api)
    await made(api, "tables/t", TABLE)
    await made(api, "tables/t/entries/a.example", {"via": "mx"})
    before, revision = services.live.current(), await head(api)
    dry = await api.request(method, f"/v1/{path}?dry_run=true", json=body)
    assert (dry.status_code, dry.headers["Dry-Run"]) == (status, "true"), dry.text
    assert "Location" not in dry.headers
    assert dry.headers["Relay-Revision"] == str(revision)
    assert dry.headers["Relay-Changed"] == "true"
    assert services.live.current() is before
    assert await head(api) == revision
    if method == "DELETE":
        assert set(dry.json()) == {"findings"}
        return
    real = await api.request(method, f"/v1/{path}", json=body)
    assert real.status_code == status
    later = {"revision", "created_at", "updated_at"}

    def timeless(answer: httpx.Response) -> dict[str, object]:
        return {name: value for name, value in answer.json().items() if name not in later}

    assert timeless(dry) == timeless(real)


async def test_a_dry_run_is_refused_as_the_real_one(api: httpx.AsyncClient) -> None:
    await shop(api)
    refused = [
        await api.delete(f"{MAP}?dry_run=true"),
        await api.put(f"{MAP}?dry_run=true", json=PLAIN_MAP, headers={"If-Match": '"0-0000"'}),
        await api.put(f"{MAP}?dry_run=true", json={"relays": []}),
        await api.put(f"{MAP}?dry_run=1", json=PLAIN_MAP),
    ]
    assert [answer.status_code for answer in refused] == [409, 412, 422, 422]


def test_tags_are_compared_strongly_and_weakly() -> None:
    tags = parse_tags('W/"a", "b"')
    assert tags is not None
    assert [tags.match_strongly(tag) for tag in ('"a"', '"b"', 'W/"b"', None)] == [
        False,
        True,
        False,
        False,
    ]
    assert [tags.match_weakly(tag) for tag in ('"a"', '"b"', 'W/"b"', '"c"', None)] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("given", ['"99-zzzz"', "*"])
async def test_nothing_that_is_not_there_matches(api: httpx.AsyncClient, given: str) -> None:
    body = {"name": "mxmap", **PLAIN_MAP}
    answer = await api.post("/v1/relay-maps", json=body, headers={"If-Match": given})
    assert (answer.status_code, answer.json()["code"]) == (412, "revision-moved")
    assert (await api.get(MAP)).status_code == 404


async def test_the_lines_of_a_header_are_one_list(api: httpx.AsyncClient) -> None:
    tag = (await api.put(MAP, json=PLAIN_MAP)).headers["ETag"]
    lines = [("If-None-Match", '"zzz"'), ("If-None-Match", tag)]
    assert (await api.put(MAP, json=PLAIN_MAP, headers=lines)).status_code == 412
    lines = [("If-Match", '"zzz"'), ("If-Match", tag)]
    assert (await api.put(MAP, json=PLAIN_MAP, headers=lines)).status_code == 200
    lines = [("If-None-Match", '"zzz"'), ("If-None-Match", "*")]
    assert (await api.put(MAP, json=PLAIN_MAP, headers=lines)).status_code == 422


async def test_a_body_where_none_is_taken_is_refused(api: httpx.AsyncClient) -> None:
    """The reason of a restore is in a header; in a body it would be lost."""
    answer = await api.post("/v1/revisions/0/restore", json={"message": "back"})
    assert (answer.status_code, answer.json()["code"]) == (415, "bad-media-type")
    assert "Relay-Message" in answer.json()["detail"]
    assert (await api.post("/v1/revisions/0/restore", json={})).status_code == 200
