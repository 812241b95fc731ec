"""The shared corpus of hostile and of good inputs gets the answers that it names."""

import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.conftest import Tell
from tests.http.conftest import SHARED, Furnished
from tests.http.fields import FIELDS, PUT_MAP, Sent, echoes
from tests.http.raw import statuses
from tests.http.samples import PLAIN_MAP, pointers
from tests.http.servers import Server

pytestmark = pytest.mark.anyio

Row = dict[str, Any]


def load(name: str) -> Any:
    return json.loads((SHARED / "corpus" / name).read_text(encoding="utf-8"))


_BAD: list[Row] = load("bad_inputs.json") if SHARED.is_dir() else []
_GOOD: dict[str, list[str]] = load("good_inputs.json") if SHARED.is_dir() else {}
RAW = [row for row in _BAD if row["field"] == "raw request"]
BAD = [row for row in _BAD if row not in RAW]
GOOD = [(name, value) for name in _GOOD for value in _GOOD[name]]

REASONS = {
    "auth": {"unauthenticated"},
    "body": {"not-json", "invalid", "body-too-large", "bad-media-type"},
    "precond": {"revision-moved"},
    "page": {"bad-type", "out-of-range", "bad-cursor"},
    "mass-assign": {"unknown-member", "bad-type", "bad-text", "missing"},
    "secret": {"bad-username", "bad-password"},
    "mailaddr": {"bad-mail-from"},
}
FIELD_REASONS = {
    "path:relay-map name": {"bad-name", "not-found"},  # a name with a slash is another path
    "rule.match.recipients": {"bad-pattern"},
}
URL_REASONS = {
    "bad-relay-url",
    "bad-schema",
    "bad-host",
    "bad-label",
    "bad-port",
    "label-needs-tls",
    "port-needed",
    "bad-text",
}


def value_of(row: Row) -> Any:
    if "value_gen" in row:
        made = row["value_gen"]
        return made["pre"] + made["repeat"] * made["times"] + made["post"]
    return row["value"]


async def by_field(api: httpx.AsyncClient, row: Row) -> httpx.Response:
    return await FIELDS[row["field"]](value_of(row)).by(api)


async def authorized(api: httpx.AsyncClient, row: Row) -> httpx.Response:
    return await api.get("/v1/relay-maps", headers={"Authorization": value_of(row)})


async def raw_body(api: httpx.AsyncClient, row: Row) -> httpx.Response:
    content, headers = value_of(row).encode(), {"Content-Type": "application/json"}
    return await api.put("/v1/relay-maps/new", content=content, headers=headers)


async def gzipped(api: httpx.AsyncClient, row: Row) -> httpx.Response:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    content = gzip.compress(value_of(row).encode())
    return await api.put("/v1/relay-maps/new", content=content, headers=headers)


async def typed(api: httpx.AsyncClient, row: Row) -> httpx.Response:
    content = json.dumps(PLAIN_MAP).encode()
    headers = {"Content-Type": row["value"]}
    return await api.put("/v1/relay-maps/new", content=content, headers=headers)


async def json_body(api: httpx.AsyncClient, row: Row) -> httpx.Response:
    return await Sent(*PUT_MAP, None, value_of(row)).by(api)


async def paged(api: httpx.AsyncClient, row: Row) -> httpx.Response:
    return await api.get(f"/v1/relay-maps?{row['value']}")


async def matching(api: httpx.AsyncClient, row: Row) -> httpx.Response:
    headers = {"If-Match": row["value"]}
    return await api.put("/v1/relay-maps/mxmap", json=PLAIN_MAP, headers=headers)


SENDERS: dict[str, Callable[[httpx.AsyncClient, Row], Awaitable[httpx.Response]]] = {
    "header Authorization": authorized,
    "raw body of PUT relay-map": raw_body,
    "gzip body": gzipped,
    "content type of PUT relay-map": typed,
    "body of PUT relay-map": json_body,
    "query of GET /v1/relay-maps": paged,
    "header If-Match": matching,
}


def codes(answer: httpx.Response) -> set[str]:
    problem = answer.json()
    return {problem["code"]} | {error["code"] for error in problem["errors"]}


@pytest.mark.parametrize("row", BAD, ids=lambda row: row["id"])
async def test_a_hostile_input_gets_the_answer_that_the_corpus_names(
    row: Row, furnished: Furnished
) -> None:
    before = await furnished.everything()
    answer = await SENDERS.get(row["field"], by_field)(furnished.api, row)
    assert answer.status_code in row["expect"], answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    if row["field"] == "relay.url":
        ((where, pointer, code),) = pointers(answer)
        assert (where, pointer) == ("body", "/relays/0/url")
        assert code in URL_REASONS
    else:
        assert codes(answer) & (FIELD_REASONS.get(row["field"]) or REASONS[row["class"]])
    assert not echoes(value_of(row), answer)
    assert await furnished.everything() == before


@pytest.mark.parametrize("row", RAW, ids=lambda row: row["id"])
def test_a_hostile_header_gets_one_answer_that_the_corpus_names(row: Row, server: Server) -> None:
    (status,) = statuses(server, row["value"])
    assert status in row["expect"]


@pytest.mark.parametrize(("name", "value"), GOOD)
async def test_a_good_input_is_taken(name: str, value: str, furnished: Furnished) -> None:
    sent = FIELDS[name](value)
    answer = await Sent(sent.method, f"{sent.path}?dry_run=true", None, sent.body).by(furnished.api)
    if name == "relay.url" and "@" in value:  # its label has to be there as well
        assert pointers(answer) == [("body", "/relays/0/url", "dangling-credential")]
    else:
        assert answer.status_code == 201, answer.text


def test_every_row_is_tried_or_it_is_said_that_none_is_here(tell: Tell) -> None:
    if SHARED.is_dir():
        assert len(BAD) >= 139
        assert len(RAW) >= 4
        assert len(GOOD) >= 20
    else:
        tell("the corpus beside the repository is not here: none of its rows was tried")
