"""Pages of lists: whole, in order, and with cursors that are checked before they are used."""

import base64
import json

import httpx
import pytest

from app.server.api.services import Services
from tests.http.conftest import Furnished
from tests.http.samples import PLAIN_MAP, made, pointers

pytestmark = pytest.mark.anyio

LISTS = [
    "relay-maps",
    "relays",
    "tables",
    "rules",
    "credentials",
    "findings",
    "mtas",
    "tokens",
    "revisions",
    "pushes",
]


def cursor(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize("name", LISTS)
async def test_every_list_has_items_and_a_cursor(furnished: Furnished, name: str) -> None:
    answer = (await furnished.api.get(f"/v1/{name}")).json()
    assert set(answer) == {"items", "next_cursor"}
    assert answer["next_cursor"] is None


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("limit=0", "/limit", "out-of-range"),
        ("limit=1001", "/limit", "out-of-range"),
        ("limit=1.0", "/limit", "bad-type"),
        ("limit=%201", "/limit", "bad-type"),
        ("limit=1_0", "/limit", "bad-type"),
        ("limit=%D9%A1", "/limit", "bad-type"),
        ("limit=1&limit=2", "/limit", "given-twice"),
        ("cursor=", "/cursor", "bad-cursor"),
        ("cursor=zzzz", "/cursor", "bad-cursor"),
        ("cursor=%00", "/cursor", "bad-cursor"),
        ("cursor=" + "A" * 2049, "/cursor", "bad-text"),
        (f"cursor={cursor('another-list', 'a')}", "/cursor", "bad-cursor"),
        ("colour=red", "", "unknown-parameter"),
    ],
)
async def test_bad_parameters_of_a_list_are_422(
    furnished: Furnished, name: str, query: str, pointer: str, code: str
) -> None:
    answer = await furnished.api.get(f"/v1/{name}?{query}")
    assert answer.status_code == 422
    assert pointers(answer) == [("query", pointer, code)]


@pytest.mark.parametrize(
    "parts",
    [
        ("relay-maps",),
        ("relay-maps", 1),
        ("relay-maps", "a", "b"),
        ("relay-maps", None),
        ("relay-maps", ["a"]),
        ("relay-maps", True),
        ("relays", "a"),
    ],
)
async def test_a_cursor_of_another_shape_is_none(
    furnished: Furnished, parts: tuple[object, ...]
) -> None:
    answer = await furnished.api.get(f"/v1/relay-maps?cursor={cursor(*parts)}")
    assert pointers(answer) == [("query", "/cursor", "bad-cursor")]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 1000])
async def test_pages_add_up_to_the_whole(api: httpx.AsyncClient, limit: int) -> None:
    for name in ("c", "a", "b"):
        await made(api, f"relay-maps/{name}", PLAIN_MAP)
    seen: list[str] = []
    path: str | None = f"/v1/relay-maps?limit={limit}&policy=round-robin"
    while path is not None:
        page = await api.get(path)
        items = page.json()["items"]
        assert len(items) <= limit
        seen += [item["name"] for item in items]
        path = page.links["next"]["url"] if "next" in page.links else None
        assert (path is None) == (page.json()["next_cursor"] is None)
        if path is not None:
            assert "policy=round-robin" in path, "filters go along"
    assert seen == ["a", "b", "c"]


async def test_a_page_goes_on_where_it_was_whatever_came_and_went(
    api: httpx.AsyncClient, services: Services
) -> None:
    for name in ("a", "b", "c"):
        await made(api, f"relay-maps/{name}", PLAIN_MAP)
    first = (await api.get("/v1/relay-maps?limit=2")).json()
    await api.delete("/v1/relay-maps/b")
    await made(api, "relay-maps/aa", PLAIN_MAP)
    rest = (await api.get(f"/v1/relay-maps?cursor={first['next_cursor']}")).json()
    assert [item["name"] for item in rest["items"]] == ["c"]


@pytest.mark.parametrize("number", [10**30, -(10**30), 2**63, -1])
async def test_a_number_that_no_database_holds_is_no_cursor(
    api: httpx.AsyncClient, number: int
) -> None:
    for of in ("pushes", "revisions"):
        answer = await api.get(f"/v1/{of}?cursor={cursor(of, number)}")
        assert pointers(answer) == [("query", "/cursor", "bad-cursor")]


@pytest.mark.parametrize("part", ["a\0b", "\ud800", 7, ["a"], None])
async def test_a_text_that_no_database_holds_is_no_cursor(
    api: httpx.AsyncClient, part: object
) -> None:
    await made(api, "tables/t", {"key": "sender"})
    answer = await api.get(f"/v1/tables/t/entries?cursor={cursor('entries/t', part)}")
    assert pointers(answer) == [("query", "/cursor", "bad-cursor")]
    assert (await api.get(f"/v1/tables/t/entries?cursor={cursor('entries/t', 'a')}")).is_success


async def test_a_cursor_that_is_nested_without_end_is_none(api: httpx.AsyncClient) -> None:
    deep = base64.urlsafe_b64encode(b"[" * 1500).decode()
    answer = await api.get(f"/v1/relay-maps?cursor={deep}")
    assert pointers(answer) == [("query", "/cursor", "bad-cursor")]
