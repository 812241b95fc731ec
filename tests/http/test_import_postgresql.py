"""Import, replacement, export and restore over HTTP where the database is a real PostgreSQL."""

import json
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.server.api.app import served
from app.server.main import open_services
from app.settings import ServerSettings
from tests.contract import postgresql
from tests.http.conftest import BASE
from tests.http.samples import head, made

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

PATH = "/v1/tables/by-domain"
ROWS = 20_000
ODD = {"*.example": "map:pool", "_x.example": "mx", "xn--mller-kva.example": "smtp://[2001:db8::1]"}
POOL = {"relays": [{"url": "smtp://a.example"}]}


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    try:
        running = postgresql.server()
        server = running.__enter__()
    except postgresql.Absent as absent:
        pytest.skip(str(absent))
    try:
        with server.database() as url:
            yield url
    finally:
        running.__exit__(None, None, None)


@asynccontextmanager
async def opened(url: str, state_dir: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A server on that database, and a client whose token may do everything."""
    settings = ServerSettings(state_dir=state_dir, database_url=url)
    async with open_services(settings) as services:
        headers = {"Authorization": f"Bearer {settings.token_path.read_text().strip()}"}
        transport = httpx.ASGITransport(app=served(services))
        async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as api:
            yield api
        services.pushes.close()


def entries(numbers: Iterable[int], host: str = "mx") -> dict[str, str]:
    return {f"d{n}.example": f"smtp://{host}{n % 7}.example.net" for n in numbers}


async def imported(api: httpx.AsyncClient, wanted: dict[str, str], query: str = "") -> Any:
    pairs = list(wanted.items())
    random.Random(3).shuffle(pairs)
    body = "".join(json.dumps({"key": key, "via": via}) + "\n" for key, via in pairs)
    headers = {"Content-Type": "application/x-ndjson"}
    return await api.post(f"{PATH}/import{query}", content=body.encode(), headers=headers)


async def exported(api: httpx.AsyncClient) -> list[tuple[str, str]]:
    answer = await api.get(f"{PATH}/export", headers={"Accept": "application/x-ndjson"})
    rows = [json.loads(line) for line in answer.text.splitlines()]
    return [(row["key"], row["via"]) for row in rows]


async def test_what_was_imported_replaced_and_restored_is_there_and_again_after_a_start(
    database_url: str, tmp_path: Path
) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir(0o700)
    first = {**entries(range(ROWS)), **ODD}
    second = {**entries(range(100, ROWS)), **entries(range(200), "new")}
    del second["d150.example"]
    async with opened(database_url, state_dir) as api:
        await made(api, "relay-maps/pool", POOL)
        await made(api, "tables/by-domain", {"key": "recipient-domain"})
        empty = await head(api)

        report = (await imported(api, first)).json()
        assert (report["created"], report["changed"]) == (len(first), 0)
        assert await head(api) == report["revision"] == empty + 1
        # In the order of code points, whatever the database's language says.
        assert await exported(api) == sorted(first.items())

        few = await imported(api, {"d0.example": "mx"}, "?mode=replace")
        assert (few.status_code, few.json()["code"]) == (409, "too-many-deletes")
        report = (await imported(api, second, "?mode=replace")).json()
        assert (report["created"], report["changed"]) == (0, 199)
        assert (report["deleted"], report["unchanged"]) == (4, ROWS - 200)
        assert await exported(api) == sorted(second.items())

        assert (await imported(api, second)).headers["Relay-Changed"] == "false"
        listed = (await api.get(f"/v1/revisions/{report['revision']}")).json()
        assert (listed["change_count"], len(listed["changes"])) == (203, 203)

        assert (await api.post(f"/v1/revisions/{empty}/restore")).status_code == 200
        assert await exported(api) == []
        assert (await api.post(f"/v1/revisions/{empty + 1}/restore")).status_code == 200
        assert await exported(api) == sorted(first.items())
    async with opened(database_url, state_dir) as api:
        assert await head(api) == empty + 4
        assert await exported(api) == sorted(first.items())
        assert (await api.post(f"/v1/revisions/{empty + 2}/restore")).status_code == 200
        assert await exported(api) == sorted(second.items())
        question = {"recipient": "joe@d151.example"}
        await made(api, "rules/all", {"action": {"kind": "relay", "via": "table:by-domain"}})
        said = (await api.post("/v1/resolve", json=question)).json()
        assert said["url"] == second["d151.example"]
