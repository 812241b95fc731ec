"""What the server says about itself: health, version, metrics, and docs that ask nobody outside."""

import re

import httpx
import pytest

from app import __version__
from app.server.api.app import create_app
from app.server.api.routes.docs import FILES, STATIC
from app.server.api.services import Options, Services
from app.server.storage import StorageAway
from tests.http.agents import Agent
from tests.http.conftest import BASE

pytestmark = pytest.mark.anyio

OPEN = ("/livez", "/readyz", "/version", "/openapi.json", "/docs", "/docs/start.js")


async def test_health_version_and_docs_need_no_token(api: httpx.AsyncClient) -> None:
    del api.headers["Authorization"]
    for path in OPEN:
        assert (await api.get(path)).status_code == 200, path
        assert (await api.head(path)).status_code == 200, path
    assert (await api.get("/livez")).json() == {"status": "ok"}
    assert (await api.get("/readyz")).json() == {"status": "ready", "revision": 0}
    assert (await api.get("/version")).json()["version"] == __version__


async def test_a_server_without_its_database_lives_and_is_not_ready(
    api: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StorageAway

    monkeypatch.setattr(services.store, "head", away)
    assert (await api.get("/livez")).status_code == 200
    answer = await api.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "storage-away")
    assert answer.headers["Retry-After"]
    assert (await api.get("/v1/resolve?recipient=joe@example.org")).status_code == 200


async def test_metrics_need_a_token_unless_the_settings_say_otherwise(
    api: httpx.AsyncClient, services: Services
) -> None:
    assert (await api.get("/metrics")).status_code == 200
    del api.headers["Authorization"]
    assert (await api.get("/metrics")).status_code == 401
    object.__setattr__(services, "options", Options(metrics_token=False))
    opened = httpx.ASGITransport(app=create_app(services))
    async with httpx.AsyncClient(transport=opened, base_url=BASE) as anyone:
        answer = await anyone.get("/metrics")
    assert (answer.status_code, answer.headers["Content-Type"]) == (
        200,
        "text/plain; version=0.0.4; charset=utf-8",
    )


async def test_metrics_count_what_happened(api: httpx.AsyncClient) -> None:
    agent = await Agent.of(api, "mx-out-1")
    await api.put("/v1/relay-maps/mxmap", json={"relays": [{"url": "smtp://mx1.example.net"}]})
    await api.post("/v1/pushes")
    await agent.apply()
    await api.get("/v1/resolve?recipient=joe@example.org")
    await api.get("/v1/relay-maps/none")
    text = (await api.get("/metrics")).text
    for line in (
        "relaymap_revision 1.0",
        'relaymap_mta_observed_revision{mta="mx-out-1"} 1.0',
        'relaymap_pushes_total{reload="restart",state="applied"} 1.0',
        "relaymap_push_seconds_count 1.0",
        'relaymap_resolve_total{outcome="unrouted"} 1.0',
        'relaymap_http_requests_total{method="GET",route="/v1/relay-maps/{map}",status="404"} 1.0',
    ):
        assert f"\n{line}\n" in text
    assert '\nrelaymap_mta_seen_seconds{mta="mx-out-1"} ' in text


async def test_a_path_that_a_client_makes_up_makes_no_metric(api: httpx.AsyncClient) -> None:
    for number in range(50):
        await api.get(f"/made-up/{number}")
    text = (await api.get("/metrics")).text
    assert "made-up" not in text


async def test_the_docs_load_nothing_from_elsewhere(api: httpx.AsyncClient) -> None:
    page = await api.get("/docs")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(addresses) == 4
    for address in addresses:
        assert address.startswith("/docs/")
        assert (await api.get(address)).status_code == 200
    assert "<script>" not in page.text, "the policy would not run it"


@pytest.mark.parametrize("name", sorted(FILES))
async def test_the_files_of_the_docs_are_those_that_are_installed(
    api: httpx.AsyncClient, name: str
) -> None:
    answer = await api.get(f"/docs/{name}")
    assert answer.content == (STATIC / name).read_bytes()
    assert answer.headers["Content-Type"].startswith(FILES[name])


@pytest.mark.parametrize(
    "name", ["redoc.standalone.js", "..%2F__init__.py", "%2E%2E/x", "swagger-ui.css/", "x"]
)
async def test_no_other_file_is_served(api: httpx.AsyncClient, name: str) -> None:
    answer = await api.get(f"/docs/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
