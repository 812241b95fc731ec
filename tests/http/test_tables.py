"""Tables and their entries over HTTP."""

from urllib.parse import quote

import httpx
import pytest

from tests.http.samples import PLAIN_MAP, TABLE, head, made, pointers

pytestmark = pytest.mark.anyio

URL = "/v1/tables/by-domain"


async def furnished(api: httpx.AsyncClient, key: str = "recipient-domain") -> None:
    await made(api, "relay-maps/mxmap", PLAIN_MAP)
    await made(api, "tables/by-domain", TABLE | {"key": key})


async def put(api: httpx.AsyncClient, key: str, via: str = "mx") -> httpx.Response:
    return await api.put(f"{URL}/entries/{quote(key, safe='')}", json={"via": via})


async def test_a_table_is_made_changed_and_deleted(api: httpx.AsyncClient) -> None:
    await made(api, "relay-maps/mxmap", PLAIN_MAP)
    created = await api.put(URL, json=TABLE)
    assert (created.status_code, created.headers["Location"]) == (201, URL)
    assert created.json()["default"] == "map:mxmap"
    patched = await api.patch(URL, json={"default": None, "description": "x"})
    assert (patched.json()["default"], patched.json()["description"]) == (None, "x")
    again = await api.put(URL, json=patched.json())
    assert again.headers["Relay-Changed"] == "false"
    assert (await api.delete(URL)).status_code == 204
    assert (await api.get(URL)).status_code == 404


async def test_post_creates_and_never_replaces(api: httpx.AsyncClient) -> None:
    body = {"name": "by-domain", "key": "sender"}
    assert (await api.post("/v1/tables", json=body)).status_code == 201
    assert (await api.post("/v1/tables", json=body)).json()["code"] == "exists"


async def test_a_table_needs_a_key_and_no_table_in_it(api: httpx.AsyncClient) -> None:
    assert pointers(await api.put(URL, json={})) == [("body", "/key", "missing")]
    body = {"key": "helo", "default": "table:other"}
    assert set(pointers(await api.put(URL, json=body))) == {
        ("body", "/key", "bad-choice"),
        ("body", "/default", "table-in-table"),
    }
    dangling = await api.put(URL, json={"key": "sender", "default": "map:nowhere"})
    assert pointers(dangling) == [("body", "/default", "dangling-map")]
    assert "nowhere" not in dangling.text


async def test_entries_have_a_revision_and_tag_of_their_own(api: httpx.AsyncClient) -> None:
    await furnished(api)
    table_tag = (await api.get(URL)).headers["ETag"]
    created = await put(api, "example.org")
    assert (created.status_code, created.headers["Relay-Revision"]) == (201, "3")
    assert created.headers["ETag"].startswith('"3-')
    assert created.json()["revision"] == 3
    assert (await put(api, "example.org", "map:mxmap")).status_code == 200
    assert (await put(api, "example.org", "map:mxmap")).headers["Relay-Changed"] == "false"
    assert (await api.get(URL)).headers["ETag"] == table_tag
    stale = await api.delete(
        f"{URL}/entries/example.org", headers={"If-Match": created.headers["ETag"]}
    )
    assert stale.status_code == 412
    assert (await api.delete(f"{URL}/entries/example.org")).status_code == 204
    assert (await api.get(f"{URL}/entries/example.org")).status_code == 404


@pytest.mark.parametrize(
    ("kind", "key", "canonical", "location"),
    [
        ("recipient-domain", "*.Example.ORG", "*.example.org", "*.example.org"),
        ("recipient-domain", "Bücher.example", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("recipient", "Joe#1@Example.org", "joe#1@example.org", "joe%231@example.org"),
        ("sender", "a?b@example.org", "a?b@example.org", "a%3Fb@example.org"),
        ("auth-user", "Shop@Provider", "shop@provider", "shop@provider"),
    ],
)
async def test_keys_are_percent_encoded_in_paths_and_canonical_in_answers(
    api: httpx.AsyncClient, kind: str, key: str, canonical: str, location: str
) -> None:
    await furnished(api, kind)
    created = await put(api, key)
    assert (created.status_code, created.json()["key"]) == (201, canonical)
    assert created.headers["Location"] == f"{URL}/entries/{location}"
    assert (await api.get(created.headers["Location"])).json() == created.json()
    back = await api.put(created.headers["Location"], json=created.json())
    assert (back.status_code, back.headers["Relay-Changed"]) == (200, "false")


async def test_a_key_of_another_kind_is_refused(api: httpx.AsyncClient) -> None:
    await furnished(api)
    assert pointers(await put(api, "joe@example.org")) == [("path", "/key", "bad-key")]
    body = {"via": "mx", "key": "other.example"}
    differs = await api.put(f"{URL}/entries/example.org", json=body)
    assert (differs.json()["code"], pointers(differs)) == (
        "name-differs",
        [("body", "/key", "name-differs")],
    )
    refused = await api.put(f"{URL}/entries/example.org", json={"via": "mx", "key": "a b"})
    assert pointers(refused) == [("body", "/key", "bad-key")]


async def test_a_table_with_entries_keeps_its_key(api: httpx.AsyncClient) -> None:
    await furnished(api)
    await put(api, "example.org")
    for answer in (
        await api.patch(URL, json={"key": "sender"}),
        await api.put(URL, json={"key": "sender"}),
    ):
        assert pointers(answer) == [("body", "/key", "key-fixed")]
    await api.delete(f"{URL}/entries/example.org")
    assert (await api.patch(URL, json={"key": "sender"})).status_code == 200


async def test_put_of_a_table_leaves_its_entries(api: httpx.AsyncClient) -> None:
    await furnished(api)
    await put(api, "example.org")
    await api.put(URL, json=TABLE | {"description": "new"})
    assert (await api.get(f"{URL}/stats")).json() == {"entries": 1}


async def test_entries_of_a_deleted_table_are_gone(api: httpx.AsyncClient) -> None:
    await furnished(api)
    await put(api, "example.org")
    await api.delete(URL)
    await made(api, "tables/by-domain", TABLE)
    assert (await api.get(f"{URL}/entries")).json()["items"] == []


async def test_entries_are_paged_by_key(api: httpx.AsyncClient) -> None:
    await furnished(api)
    keys = ["*.b.example", "a.example", "b.example", "c.example", "d.example"]
    for key in reversed(keys):
        await put(api, key)
    seen: list[str] = []
    path: str | None = f"{URL}/entries?limit=2"
    pages = 0
    while path:
        page = await api.get(path)
        seen += [item["key"] for item in page.json()["items"]]
        path = page.links["next"]["url"] if "next" in page.links else None
        pages += 1
    assert (seen, pages) == (keys, 3)
    assert (await api.get(f"{URL}/stats")).json() == {"entries": 5}


@pytest.mark.parametrize("path", ["/entries", "/stats", "/entries/a.example", ""])
async def test_a_table_that_is_not_there_is_404(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(f"/v1/tables/none{path}")
    assert answer.status_code == 404
    if "a.example" in path:
        assert (await api.put(f"/v1/tables/none{path}", json={"via": "mx"})).status_code == 404
        assert (await api.delete(f"/v1/tables/none{path}")).status_code == 404
    assert await head(api) == 0


async def test_tables_are_listed_and_filtered(api: httpx.AsyncClient) -> None:
    await made(api, "tables/b", {"key": "sender"})
    await made(api, "tables/a", {"key": "recipient"})
    listed = (await api.get("/v1/tables")).json()["items"]
    assert [table["name"] for table in listed] == ["a", "b"]
    listed = (await api.get("/v1/tables?key=sender")).json()["items"]
    assert [table["name"] for table in listed] == ["b"]
