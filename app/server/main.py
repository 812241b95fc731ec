"""The composition root of the server: opens everything once, wires the loops, ends cleanly."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType

import uvicorn

from app import __version__
from app.observe import Metrics, event, failure, start_log
from app.server.api.app import served
from app.server.api.services import Options, Services
from app.server.api.token_book import TokenBook
from app.server.confirmed import Confirmed
from app.server.connection import Connection
from app.server.dns import MxResolver
from app.server.draining import Draining
from app.server.edit import Editor, utc_now
from app.server.findings import FindingBook
from app.server.fleet import Fleet
from app.server.judge import Judge
from app.server.pins import Pins
from app.server.pushes import Pushes
from app.server.storage import StorageTrouble, Store
from app.server.store.examine import examine
from app.server.store.store import DatabaseStore
from app.server.tokens import first_token
from app.settings import BadSettings, ServerSettings

FOLLOW_EVERY_S = 2.0
"""How soon a write of another process, a restore among them, is seen."""
UPKEEP_EVERY_S = 10.0
PRUNE_EVERY_S = 3600.0
_DRAIN_S = 5
_PRIVATE = 0o700
_WRITABLE_BY_OTHERS = 0o022
_BACKLOG = 1024


def serve(settings: ServerSettings) -> None:
    """Serve the API until a signal ends it.

    Raises:
        BadSettings: something that the settings name is not as it must be.
        DatabaseRefused: the database, or the key to it, is not.
        StorageTrouble: the database cannot be reached.
    """
    start_log(None if settings.log is None else settings.log.value, settings.log_level.value)
    os.umask(0o077)
    prepare_state_dir(settings.state_dir)
    config = uvicorn.Config(
        _nothing,  # replaced once everything is open
        loop="uvloop",
        http=Connection,
        ssl_certfile=readable("RELAYMAP_TLS_CERT_FILE", settings.tls_cert_file),
        ssl_keyfile=readable("RELAYMAP_TLS_KEY_FILE", settings.tls_key_file),
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=_DRAIN_S,
    )
    with (
        closing(listen(settings)) as listener,
        asyncio.Runner(loop_factory=config.get_loop_factory()) as runner,
    ):
        runner.run(_serve(settings, config, listener))


async def _nothing(_scope: object, _receive: object, _send: object) -> None:
    """No application: nothing is answered before everything is open."""


async def _serve(settings: ServerSettings, config: uvicorn.Config, listener: socket.socket) -> None:
    async with open_services(settings) as services:
        config.app = served(services)
        server = _Server(config, services.pushes.close)
        loops = asyncio.create_task(_loops(services, settings))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        host, port, *_ = listener.getsockname()
        revision = services.live.current().revision
        event("listening", host=host, port=port, version=__version__, revision=revision)
        # A loop that breaks takes the server down: whoever supervises us starts a whole one again.
        await asyncio.wait({loops, serving}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        loops.cancel()
        await asyncio.wait({loops})
        if not loops.cancelled():
            loops.result()
        await services.tokens.upkeep()
        event("stopped")


class _Server(uvicorn.Server):
    """Lets long polls go when it is told to end, and ends with 0."""

    def __init__(self, config: uvicorn.Config, let_go: Callable[[], None]) -> None:
        super().__init__(config)
        self._let_go = let_go

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: answer who waits, then whoever is being answered."""
        self._let_go()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin to end; a second interrupt does not wait for anybody."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


@asynccontextmanager
async def open_services(
    settings: ServerSettings, now: Callable[[], datetime] = utc_now
) -> AsyncIterator[Services]:
    """Everything that the API works with, from the database on; closed again at the end."""
    store = await open_store(settings)
    try:
        if await first_token(store, settings.token_path, now()):
            event("first-token-written", path=str(settings.token_path))
        yield await _services(store, settings, now)
    finally:
        await store.close()


async def open_store(settings: ServerSettings) -> Store:
    """The store that the settings name, made where there is none."""
    return await DatabaseStore.open(settings.store_url, settings.key_path)


async def restore_store(settings: ServerSettings, backup: Path) -> None:
    """Put a backup in place of what the store holds."""
    await DatabaseStore.restore(settings.store_url, settings.key_path, backup)


def examine_store(settings: ServerSettings) -> bool:
    """Whether there is a database, looked at without changing it."""
    return examine(settings.store_url, settings.key_path)


async def _services(
    store: Store, settings: ServerSettings, now: Callable[[], datetime]
) -> Services:
    metrics = Metrics()
    editor = await Editor.start(store, now)
    fleet = await Fleet.start(store)
    pins = Pins(store, editor.live, editor.table_at)
    judge = Judge()
    return Services(
        store=store,
        editor=editor,
        fleet=fleet,
        confirmed=Confirmed(editor.live, fleet, editor.table_at),
        pushes=Pushes(store, editor.live, fleet, pins, judge, metrics=metrics, now=now),
        draining=Draining(store, fleet, now),
        findings=FindingBook(fleet, judge, now),
        tokens=TokenBook(store, now),
        resolver=MxResolver(settings.dns_servers),
        options=Options(
            allowed_hosts=frozenset(host.lower() for host in settings.allowed_hosts),
            require_if_match=settings.require_if_match,
            metrics_token=settings.metrics_token,
        ),
        metrics=metrics,
        now=now,
    )


async def _loops(services: Services, settings: ServerSettings) -> None:
    """What goes on beside requests. Each looks at the rows anew; none holds what would be lost."""

    async def prune() -> None:
        older_than = utc_now() - timedelta(days=settings.keep_days)
        pruned = await services.store.prune(settings.keep_revisions, older_than)
        if pruned:
            event("revisions-pruned", count=pruned)

    async def follow() -> None:
        if await services.editor.follow():
            event("followed", revision=services.live.current().revision)
            await services.pushes.look()

    async with asyncio.TaskGroup() as group:
        group.create_task(services.pushes.run())
        group.create_task(_every(FOLLOW_EVERY_S, follow, "head-not-followed"))
        group.create_task(_every(UPKEEP_EVERY_S, services.tokens.upkeep, "tokens-not-noted"))
        group.create_task(_every(PRUNE_EVERY_S, prune, "revisions-not-pruned"))


async def _every(seconds: float, work: Callable[[], Awaitable[None]], trouble: str) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except StorageTrouble:
            failure(trouble)


# --- what must be so before anything is opened ------------------------------------------------


def prepare_state_dir(path: Path) -> None:
    """Make the state directory, or look at the one that is there.

    Raises:
        BadSettings: others may write in it, or it cannot be made.
    """
    try:
        path.mkdir(_PRIVATE, parents=True, exist_ok=True)
        mode = path.stat().st_mode
    except OSError as error:
        fault = f"RELAYMAP_STATE_DIR: it cannot be made or read: {error.strerror}"
        raise BadSettings((fault,)) from error
    if mode & _WRITABLE_BY_OTHERS:
        raise BadSettings(("RELAYMAP_STATE_DIR: others may write in it; chmod 700 it",))
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise BadSettings(("RELAYMAP_STATE_DIR: this user may not write in it",))


def readable(variable: str, path: Path | None) -> Path | None:
    """The file that a setting names, or None.

    Raises:
        BadSettings: it is not there, or not for us to read.
    """
    if path is not None and not os.access(path, os.R_OK):
        raise BadSettings((f"{variable}: the file is not there, or this user may not read it",))
    return path


def listen(settings: ServerSettings) -> socket.socket:
    """The socket to listen on, before anything is opened: a second server stops here.

    Raises:
        BadSettings: nobody can listen there, or somebody does.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host.strip("[]"),
            settings.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        return _listening(socket.socket(family, kind, protocol), address)
    except OSError as error:
        fault = f"RELAYMAP_HOST, RELAYMAP_PORT: cannot listen there: {error.strerror}"
        raise BadSettings((fault,)) from error


def _listening(made: socket.socket, address: tuple[object, ...]) -> socket.socket:
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(_BACKLOG)
        made.settimeout(0)
    except OSError:
        made.close()
        raise
    return made
