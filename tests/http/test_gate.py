"""What every request passes before a route sees it, and the problem that each refusal is."""

import json
import logging
from collections.abc import AsyncIterator

import httpx
import pytest

from app.routing.errors import ControlError
from app.server.api.app import create_app
from app.server.api.services import Services
from tests.http.samples import PLAIN_MAP, head

pytestmark = pytest.mark.anyio

MAP = "/v1/relay-maps/m"
JSON = {"Content-Type": "application/json"}


async def put(api: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    return await api.put(MAP, content=body, headers=JSON | headers)


@pytest.mark.parametrize(
    "body",
    [
        b'{"relays": [], "relays": []}',
        b'{"relays": [{"url": "smtp://a", "url": "smtp://b"}]}',
        b'{"relays": [NaN]}',
        b'{"relays": [Infinity]}',
        b'{"relays": [1e999]}',
        b'{"relays": [' + b"1" * 5000 + b"]}",
        b"[" * 21 + b"]" * 21,
        b"[" * 100_000,
        b'{"a":' * 21 + b"1" + b"}" * 21,
        b'\xef\xbb\xbf{"relays": []}',
        b'{"relays": ["\xff"]}',
        '{"relays": []}'.encode("utf-16"),
        b"{",
        b"{'relays': []}",
        b'{"relays": []} x',
        b"// c\n{}",
    ],
)
async def test_what_is_not_strict_json_is_400_and_stores_nothing(
    api: httpx.AsyncClient, body: bytes
) -> None:
    answer = await put(api, body)
    assert (answer.status_code, answer.json()["code"]) == (400, "not-json"), answer.text
    assert await head(api) == 0


@pytest.mark.parametrize("body", [b"[" * 20 + b"]" * 20, b'{"a":' * 20 + b"1" + b"}" * 20])
async def test_twenty_levels_are_read(api: httpx.AsyncClient, body: bytes) -> None:
    assert (await put(api, body)).status_code == 422


async def test_a_body_over_one_mebibyte_is_413(api: httpx.AsyncClient) -> None:
    answer = await put(api, b'{"description": "' + b"x" * (1 << 20) + b'"}')
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")


async def test_a_stream_over_one_mebibyte_is_413(api: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * (1 << 16)

    answer = await api.put(MAP, content=pieces(), headers=JSON)
    assert answer.status_code == 413


async def test_one_mebibyte_is_read(api: httpx.AsyncClient) -> None:
    body = json.dumps(PLAIN_MAP).encode()
    answer = await put(api, body + b" " * ((1 << 20) - len(body)))
    assert answer.status_code == 201


async def test_compressed_bodies_are_415(api: httpx.AsyncClient) -> None:
    answer = await put(api, b"\x1f\x8b", **{"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (415, "bad-media-type")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/json-patch+json",
        "application/merge-patch+json",
        "text/plain",
        "application/json; charset=utf-16",
        "",
    ],
)
async def test_other_types_than_json_are_415_with_a_hint(
    api: httpx.AsyncClient, content_type: str
) -> None:
    answer = await put(api, json.dumps(PLAIN_MAP).encode(), **{"Content-Type": content_type})
    assert answer.status_code == 415
    assert "--json" in answer.json()["detail"]
    assert answer.headers["Accept"] == "application/json"
    assert await head(api) == 0


async def test_json_may_say_its_charset(api: httpx.AsyncClient) -> None:
    content_type = 'application/json; charset="UTF-8"'
    answer = await put(api, json.dumps(PLAIN_MAP).encode(), **{"Content-Type": content_type})
    assert answer.status_code == 201


async def test_a_missing_body_is_422(api: httpx.AsyncClient) -> None:
    answer = await api.put(MAP)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "missing")


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "localhost:x"])
async def test_another_host_is_refused(api: httpx.AsyncClient, host: str) -> None:
    answer = await api.get("/livez", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8025", "127.0.0.1:8025", "[::1]:8025"])
async def test_our_own_hosts_are_answered(api: httpx.AsyncClient, host: str) -> None:
    assert (await api.get("/livez", headers={"Host": host})).status_code == 200


async def test_a_request_id_is_echoed_where_it_is_one(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/nothing", headers={"X-Request-Id": "req-1.a_B"})
    assert answer.headers["X-Request-Id"] == "req-1.a_B"
    assert answer.json()["request_id"] == "req-1.a_B"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", "a\u00e4"])
async def test_a_request_id_is_made_where_there_is_none(api: httpx.AsyncClient, given: str) -> None:
    answers = [
        await api.get("/v1/nothing", headers={b"X-Request-Id": given.encode()}) for _ in range(2)
    ]
    made = [answer.headers["X-Request-Id"] for answer in answers]
    assert len(set(made)) == 2
    assert given not in made


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/relay-maps", "GET, HEAD, POST"),
        (MAP, "DELETE, GET, HEAD, PATCH, PUT"),
        ("/v1/resolve", "GET, HEAD, POST"),
        ("/v1/relay-maps/m/relays/r/state", "PUT"),
        ("/v1/agent/wanted", "GET"),
        ("/livez", "GET, HEAD"),
    ],
)
async def test_405_names_every_method_that_the_path_takes(
    api: httpx.AsyncClient, path: str, allowed: str
) -> None:
    answer = await api.request("TRACE", path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/relay-maps/", "/v1", "/v2/relay-maps"])
async def test_other_paths_are_404_problems_and_never_redirects(
    api: httpx.AsyncClient, path: str
) -> None:
    answer = await api.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


async def test_head_answers_as_get_without_content(api: httpx.AsyncClient) -> None:
    await put(api, json.dumps(PLAIN_MAP).encode())
    got, headed = await api.get(MAP), await api.head(MAP)
    assert headed.status_code == 200
    assert headed.content == b""
    assert headed.headers["Content-Length"] == str(len(got.content))
    assert headed.headers["ETag"] == got.headers["ETag"]


async def test_json_ends_in_a_newline(api: httpx.AsyncClient) -> None:
    assert (await api.get("/v1/relay-maps")).text.endswith("}\n")
    assert (await api.get("/v1/resolve?recipient=a@b.example")).text.endswith("}\n")
    assert (await api.get("/v1/nothing")).text.endswith("}\n")


async def test_what_nobody_foresaw_is_a_500_without_its_words(
    services: Services, admin_token: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(services)

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("hunter2")

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "hunter2" not in answer.text
    (record,) = (r for r in caplog.records if r.levelno == logging.ERROR)
    facts = vars(record)["facts"]
    assert facts["error"] == "ValueError"
    assert any("broken" in frame for frame in facts["where"])
    assert "hunter2" not in str(record.__dict__)


async def test_an_error_without_a_status_is_a_500_without_its_words(services: Services) -> None:
    class Stray(ControlError):
        code = "stray"

    app = create_app(services)

    @app.get("/stray")
    async def stray() -> None:
        raise Stray("hunter2")

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/stray")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "hunter2" not in answer.text


async def test_requests_are_counted_by_template_and_never_by_path(
    api: httpx.AsyncClient, services: Services
) -> None:
    for path in (MAP, "/v1/relay-maps/other", "/v1/secret-path", "/v1/relay-maps"):
        await api.get(path)
    await api.head(MAP)
    text = services.metrics.text().decode()
    line = (
        'relaymap_http_requests_total{method="GET",route="/v1/relay-maps/{map}",status="404"} 2.0'
    )
    assert line in text
    assert 'method="HEAD",route="/v1/relay-maps/{map}",status="404"} 1.0' in text
    assert 'method="any",route="none",status="404"} 1.0' in text
    assert "secret-path" not in text


@pytest.mark.parametrize(
    "odd",
    [
        "application/json; charset*0*='; charset*" + "9" * 5000 + "=z",
        "application/json; charset*=x",
        ";;;",
        "\x80",
    ],
)
async def test_a_content_type_of_any_shape_is_a_problem_at_worst(
    api: httpx.AsyncClient, odd: str
) -> None:
    headers = [(b"content-type", odd.encode("latin-1"))]
    answer = await api.post("/v1/resolve", content=b'{"recipient": "a@b.cc"}', headers=headers)
    assert answer.status_code in {200, 415, 422}, answer.text


async def test_a_big_body_is_looked_through_beside_the_others(api: httpx.AsyncClient) -> None:
    deep = b"[" + b",".join([b"[" * 21 + b"]" * 21] * 10_000) + b"]"
    assert len(deep) > 1 << 16
    answer = await api.post(
        "/v1/resolve", content=deep, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "not-json")
