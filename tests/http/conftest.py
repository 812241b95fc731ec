"""A whole server in this process, over a real SQLite file, spoken to without a socket."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from app.server.api.app import served
from app.server.api.services import Services
from app.server.main import open_services
from app.settings import ServerSettings
from tests.http.fields import furnish
from tests.http.servers import Server

BASE = "http://localhost"

SHARED = Path(__file__).resolve().parents[3] / "shared"
"""Inputs that stand beside the repository on some machines."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has no rows where those inputs are not; test_shared_corpus.py says so."""
    if SHARED.is_dir():
        return
    empty = [item for item in items if _is_of_shared_rows(item)]
    items[:] = [item for item in items if item not in empty]
    config.hook.pytest_deselected(items=empty)


def _is_of_shared_rows(item: pytest.Item) -> bool:
    return item.path.name.startswith("test_shared_") and hasattr(item, "callspec")


class Clock:
    """The server's time, which a test moves on."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    state_dir = tmp_path / "state"
    state_dir.mkdir(0o700)
    return ServerSettings(state_dir=state_dir)


@pytest.fixture
async def services(settings: ServerSettings, clock: Clock) -> AsyncIterator[Services]:
    async with open_services(settings, clock) as opened:
        yield opened
        opened.pushes.close()


@pytest.fixture
def admin_token(services: Services, settings: ServerSettings) -> str:
    return settings.token_path.read_text().strip()


@pytest.fixture
async def api(services: Services, admin_token: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose token may do everything."""
    headers = {"Authorization": f"Bearer {admin_token}"}
    transport = httpx.ASGITransport(app=served(services))
    async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as client:
        yield client


@dataclass(frozen=True)
class Furnished:
    """A server with something of everything, which no test of this file may change."""

    api: httpx.AsyncClient
    services: Services

    async def everything(self) -> tuple[object, ...]:
        store = self.services.store
        return (self.services.live.current(), await store.tokens(), await store.mtas())


@pytest.fixture(scope="module")
async def furnished(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Furnished]:
    state_dir = tmp_path_factory.mktemp("state")
    state_dir.chmod(0o700)
    settings = ServerSettings(state_dir=state_dir)
    async with open_services(settings) as services:
        headers = {"Authorization": f"Bearer {settings.token_path.read_text().strip()}"}
        transport = httpx.ASGITransport(app=served(services))
        async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as api:
            await furnish(api)
            yield Furnished(api, services)
        services.pushes.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in a process of its own, which the tests of one file share."""
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running
