"""What the command line does on the database itself: the way back in, copies, a look at all."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from errno import ENOENT
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from app.observe import start_log
from app.routing.document import parse_line
from app.routing.errors import ControlError, Invalid, Refused
from app.server.api import faults
from app.server.api.asking import ask, routing_for
from app.server.api.auth import Scope
from app.server.api.schemas.question import Question, ResolutionOut
from app.server.edit import utc_now
from app.server.main import (
    examine_store,
    listen,
    open_services,
    open_store,
    prepare_state_dir,
    readable,
    restore_store,
)
from app.server.storage import Store, TokenRow
from app.server.tokens import make_token
from app.settings import ServerSettings

T = TypeVar("T")
_ALL = "all"


def create_token(settings: ServerSettings, name: str, scopes: str) -> str:
    """A new token's text.

    Args:
        settings: where the database is.
        name: the author of what is written with it.
        scopes: with commas between them; `all` for every one.

    Raises:
        Refused: there is no such scope, or the name is none.
    """
    chosen = _scopes(scopes)
    row, text = make_token(parse_line(name), chosen, utc_now())

    async def put(store: Store) -> None:
        await store.put_token(row)

    _with_store(settings, put, may_make=True)
    return text


def _scopes(text: str) -> tuple[Scope, ...]:
    if text == _ALL:
        return tuple(Scope)
    known = {scope.value: scope for scope in Scope}
    names = [part.strip() for part in text.split(",")]
    if not all(name in known for name in names):
        raise Refused("bad-scope", f"scopes are {', '.join(known)}, with commas, or {_ALL}")
    return tuple(known[name] for name in dict.fromkeys(names))


def list_tokens(settings: ServerSettings) -> Iterator[str]:
    """A line for each token: id, name, what it may do, when it was last used."""

    async def read(store: Store) -> tuple[TokenRow, ...]:
        return await store.tokens()

    for row in _with_store(settings, read):
        may = ",".join(row.scopes) if row.mta is None else f"agent of {row.mta}"
        used = "never used" if row.last_used_at is None else f"used {row.last_used_at:%Y-%m-%d}"
        ends = "" if row.expires_at is None else f"  ends {row.expires_at:%Y-%m-%d}"
        yield f"{row.id}  {row.name}  {may}  {used}{ends}"


def revoke_token(settings: ServerSettings, token: str) -> None:
    """End a token; a running server takes notice within half a minute.

    Raises:
        Unknown: there is none of that id.
        LastAdmin: nobody could make tokens over HTTP after it.
    """

    async def delete(store: Store) -> None:
        await store.delete_token(token, utc_now())

    _with_store(settings, delete)


def check(settings: ServerSettings) -> tuple[str, ...]:
    """What would keep `serve` from serving: one sentence each. Changes nothing."""
    start_log(None, "error")
    found: list[str] = []
    for look in (_look_at_state_dir, _look_at_tls, _look_at_store, _look_at_listener):
        try:
            look(settings)
        except ControlError as fault:
            found.append(str(fault))
    return tuple(found)


def _look_at_state_dir(settings: ServerSettings) -> None:
    if settings.state_dir.exists():
        prepare_state_dir(settings.state_dir)


def _look_at_tls(settings: ServerSettings) -> None:
    readable("RELAYMAP_TLS_CERT_FILE", settings.tls_cert_file)
    readable("RELAYMAP_TLS_KEY_FILE", settings.tls_key_file)


def _look_at_store(settings: ServerSettings) -> None:
    if not examine_store(settings):
        print("there is no database yet; serve makes one")  # noqa: T201  it is no fault


def _look_at_listener(settings: ServerSettings) -> None:
    listen(settings).close()


def backup(settings: ServerSettings, file: Path) -> None:
    """Write a consistent copy of the database, secrets still sealed.

    Raises:
        FileExistsError: there is such a file.
    """

    async def copy(store: Store) -> None:
        await store.backup(file)

    _with_store(settings, copy)


def restore(settings: ServerSettings, file: Path) -> None:
    """Put a backup in place of the database, under a new history."""
    _prepare(settings)
    asyncio.run(restore_store(settings, file))


def resolve(settings: ServerSettings, question: Mapping[str, object]) -> dict[str, object]:
    """The answer to a question, as the API gives it, straight from the database.

    Raises:
        Invalid: it is no question.
        Unknown: it names an MTA that is not there.
        NothingConfirmed: which routing that MTA serves is not known.
        RevisionPruned: it serves a revision that was forgotten since.
    """
    try:
        asked = Question.model_validate(question)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise Invalid(tuple(at.fault for at in faults.of_validation(found, question))) from None
    _prepare(settings)
    _refuse_absent(settings)

    async def run() -> dict[str, object]:
        async with open_services(settings) as services:
            table = await routing_for(services, asked.mta)
            resolution = await ask(services, table, asked)
            answer = ResolutionOut.of(resolution, table.revision, explain=asked.explain)
            return answer.model_dump(mode="json")

    return asyncio.run(run())


def _refuse_absent(settings: ServerSettings) -> None:
    """Make no database only to answer that there is nothing in it.

    Raises:
        FileNotFoundError: there is none.
    """
    if not examine_store(settings):
        raise FileNotFoundError(ENOENT, "there is no database; serve makes one")


def _prepare(settings: ServerSettings) -> None:
    start_log(None, "warning")
    os.umask(0o077)
    prepare_state_dir(settings.state_dir)


def _with_store(
    settings: ServerSettings, work: Callable[[Store], Awaitable[T]], *, may_make: bool = False
) -> T:
    _prepare(settings)
    if not may_make:
        _refuse_absent(settings)

    async def run() -> T:
        store = await open_store(settings)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())
