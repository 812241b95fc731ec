"""Export of the entries of a table: forms, order, one revision, and the way back."""

import asyncio
import re

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.routing.entries import TableEntries
from app.routing.errors import Refused
from app.routing.next_hop import parse_entry_hop
from app.routing.table import TableKey, parse_key
from app.server.api.entry_export import exported
from app.server.api.entry_forms import PLAIN_KEY, Form, canonical_key, line_form
from app.server.api.entry_reader import reader
from app.server.api.gathering import Gathering
from tests.http.samples import TABLE, bearer, head, made, shop

pytestmark = pytest.mark.anyio

PATH = "/v1/tables/by-domain"
FILES = {
    "application/json": '{"entries": [\n{"key": "*.a.example", "via": "mx"},\n{"key": "b.example", "via": "map:mxmap"}\n]}\n',
    "application/x-ndjson": '{"key": "*.a.example", "via": "mx"}\n{"key": "b.example", "via": "map:mxmap"}\n',
    "text/csv": "key,via\r\n*.a.example,mx\r\nb.example,map:mxmap\r\n",
    "text/plain": "*.a.example mx\nb.example map:mxmap\n",
}


@pytest.fixture
async def shop_api(api: httpx.AsyncClient) -> httpx.AsyncClient:
    await shop(api)
    await made(api, "tables/by-domain", TABLE)
    await made(api, "tables/by-domain/entries/b.example", {"via": "map:mxmap"})
    await made(api, "tables/by-domain/entries/*.A.example", {"via": "mx"})
    return api


async def export(api: httpx.AsyncClient, accept: str, **headers: str) -> httpx.Response:
    return await api.get(f"{PATH}/export", headers={"Accept": accept, **headers})


@pytest.mark.parametrize("form", FILES)
async def test_each_form_is_written_and_can_be_imported(
    form: str, shop_api: httpx.AsyncClient
) -> None:
    answer = await export(shop_api, form)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].partition(";")[0] == form
    assert answer.headers["Vary"] == "Accept"
    assert answer.text == FILES[form]
    before = await head(shop_api)
    assert answer.headers["Relay-Revision"] == str(before)
    again = await shop_api.post(
        f"{PATH}/import?mode=replace&max_deletes=0",
        content=answer.content,
        headers={"Content-Type": form, "If-Match": answer.headers["ETag"]},
    )
    assert (again.status_code, again.headers["Relay-Changed"]) == (200, "false")
    assert (again.json()["unchanged"], again.json()["revision"]) == (2, before)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/*", "text/csv"),
        ("text/html", "application/json"),
        ("text/plain, text/csv;q=0.5", "text/plain"),
        ("application/json;q=0.1, application/x-ndjson", "application/x-ndjson"),
        ("*/*;q=0.1, text/plain", "text/plain"),
    ],
)
async def test_the_form_is_what_is_accepted(
    accept: str, form: str, shop_api: httpx.AsyncClient
) -> None:
    answer = await export(shop_api, accept)
    assert answer.headers["Content-Type"].partition(";")[0] == form


async def test_an_empty_table_is_an_empty_file(shop_api: httpx.AsyncClient) -> None:
    await made(shop_api, "tables/empty", {"key": "sender"})
    answer = await shop_api.get("/v1/tables/empty/export")
    assert answer.json() == {"entries": []}
    answer = await shop_api.get("/v1/tables/empty/export", headers={"Accept": "text/csv"})
    assert answer.text == "key,via\r\n"


async def test_who_has_it_is_told_so(shop_api: httpx.AsyncClient) -> None:
    tag = (await export(shop_api, "text/csv")).headers["ETag"]
    assert (await export(shop_api, "text/csv", **{"If-None-Match": tag})).status_code == 304
    await made(shop_api, "tables/by-domain/entries/c.example", {"via": "mx"})
    assert (await export(shop_api, "text/csv", **{"If-None-Match": tag})).status_code == 200
    answer = await shop_api.head(f"{PATH}/export", headers={"Accept": "text/csv"})
    assert "Content-Length" not in answer.headers  # it would be that of the file
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"].startswith("text/csv")


async def test_it_needs_the_scope_and_the_table(shop_api: httpx.AsyncClient) -> None:
    token = await bearer(shop_api, "routing:write")
    assert (await shop_api.get(f"{PATH}/export", headers=token)).status_code == 403
    assert (await shop_api.get("/v1/tables/none/export")).status_code == 404


async def test_what_is_edited_meanwhile_is_not_in_it(shop_api: httpx.AsyncClient) -> None:
    rows = "".join(f"d{number}.example mx\n" for number in range(9_000))
    await shop_api.post(f"{PATH}/import", content=rows, headers={"Content-Type": "text/plain"})
    answer, _ = await asyncio.gather(
        export(shop_api, "text/plain"),
        shop_api.delete(f"{PATH}/entries/d1.example"),
    )
    lines = answer.text.splitlines()
    assert len(lines) in {9_001, 9_002}
    assert lines == sorted(lines)
    assert int(answer.headers["Relay-Revision"]) == await head(shop_api) - (len(lines) == 9_002)


# --- the grammar ------------------------------------------------------------------------------

_SIGNS = "aZ09.!#$&'*+=?^_{|}~@-\\\"', \t\x00é☃"
_HOPS = ("mx", "map:pool", "smtp://mx1.example.net:25", "tls://acct@[2001:db8::1]", "MX1.example")


def _canonical(kind: TableKey, text: str) -> str | None:
    try:
        return parse_key(kind, text)
    except Refused:
        return None


keys = st.one_of(
    st.text(_SIGNS, max_size=12),
    st.from_regex(r"\A(\*\.)?[a-z0-9_-]{1,6}(\.[a-z0-9_-]{1,5}){0,3}\Z"),
    st.from_regex(r"\A[#a-z0-9!+.-]{1,6}@(xn--|[a-z0-9-]{1,6})[a-z0-9-]{0,4}\.(example|0x1|1)\Z"),
    st.sampled_from(
        ["xn--strae-oqa.example", "straße.example", "#joe@a.example", "1.example", "a" * 70]
    ),
)


@pytest.mark.parametrize("kind", TableKey)
@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(rows=st.dictionaries(keys, st.sampled_from(_HOPS), max_size=20))
def test_what_is_exported_is_imported_alike(kind: TableKey, rows: dict[str, str]) -> None:
    wanted = {
        key: parse_entry_hop(via)
        for text, via in rows.items()
        if (key := _canonical(kind, text)) is not None
    }
    for form in Form:
        gathering = Gathering(kind)
        source = reader(form, gathering)
        for part in exported(TableEntries(wanted), form):
            for at in range(0, len(part), 7):
                source.feed(part[at : at + 7])
        source.close()
        assert gathering.error_count == 0, gathering.errors
        assert dict(gathering.entries().items()) == wanted


@pytest.mark.parametrize("kind", TableKey)
@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
@given(text=keys)
def test_what_is_called_canonical_is(kind: TableKey, text: str) -> None:
    if len(text) <= PLAIN_KEY and re.fullmatch(canonical_key(kind), text):
        assert _canonical(kind, text) == text


@pytest.mark.parametrize("form", [Form.NDJSON, Form.CSV, Form.TEXT])
@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
@given(key=keys, via=st.one_of(st.sampled_from(_HOPS), st.text(_SIGNS, max_size=8)))
def test_the_quick_way_and_the_slow_one_read_alike(form: Form, key: str, via: str) -> None:
    lines = {
        Form.NDJSON: f'{{"key":"{key}","via":"{via}"}}',
        Form.CSV: f"{key},{via}",
        Form.TEXT: f"{key} {via}",
    }
    read = line_form(form, TableKey.SENDER)
    match = read.plain.fullmatch(lines[form])
    if match is not None:
        assert read.split(lines[form]) == match.groups()
