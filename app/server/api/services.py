"""What the routes work with: one typed object, made by the composition root, reached by aliases."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from app.observe import Metrics
from app.server.api.import_jobs import ImportJobs
from app.server.api.token_book import TokenBook
from app.server.confirmed import Confirmed
from app.server.dns import MxResolver
from app.server.draining import Draining
from app.server.edit import Editor, utc_now
from app.server.findings import FindingBook
from app.server.fleet import Fleet
from app.server.live import Live, Snapshot
from app.server.pushes import Pushes
from app.server.storage import Store

_MX_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Options:
    """What the settings say about the API.

    Attributes:
        allowed_hosts: values of Host that are answered, lower case, without port.
        require_if_match: whether a write that could overwrite something needs If-Match.
        metrics_token: whether /metrics needs a token.
    """

    allowed_hosts: frozenset[str] = frozenset({"localhost", "127.0.0.1", "[::1]"})
    require_if_match: bool = False
    metrics_token: bool = True


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a route may work with.

    Attributes:
        now: the server's time.
        mx_room: for questions of batches that ask the DNS: fewer than it takes at once, so that
            those that are asked alone find room.
    """

    store: Store
    editor: Editor
    fleet: Fleet
    confirmed: Confirmed
    pushes: Pushes
    draining: Draining
    findings: FindingBook
    tokens: TokenBook
    resolver: MxResolver
    options: Options = field(default_factory=Options)
    metrics: Metrics = field(default_factory=Metrics)
    now: Callable[[], datetime] = utc_now
    mx_room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MX_AT_ONCE))
    imports: ImportJobs = field(default_factory=ImportJobs)

    @property
    def live(self) -> Live:
        """The newest routing, and the turns of its maps."""
        return self.editor.live


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Control = Annotated[Services, Depends(_services)]
"""Everything that a route may work with."""


async def _current(services: Control) -> Snapshot:
    return services.live.current()


Current = Annotated[Snapshot, Depends(_current)]
"""The newest routing."""
