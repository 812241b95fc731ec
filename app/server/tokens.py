"""Tokens: made from chance, kept as their SHA-256, the first one written to a file of its own."""

import os
import re
import secrets
from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from app.routing.errors import ControlError, LimitReached, Unknown
from app.server.api.auth import Scope
from app.server.api.token_book import TOKEN_PREFIX, token_digest
from app.server.storage import LastAdmin, Store, TokenRow

_TOKEN = re.compile(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]{{43}}")
_PRIVATE = 0o600
_OTHERS = 0o077
MAX_OF_AGENT = 2


class TokenFileUnfit(ControlError):
    """The file for the first token holds something else, or others may read it."""

    code = "token-file-unfit"


def make_token(
    name: str,
    scopes: Collection[str],
    now: datetime,
    *,
    mta: str | None = None,
    expires_at: datetime | None = None,
) -> tuple[TokenRow, str]:
    """A new token: what is kept of it, and its text, which is shown once."""
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    return _row(text, name, scopes, now, mta, expires_at), text


def _row(
    text: str,
    name: str,
    scopes: Collection[str],
    now: datetime,
    mta: str | None = None,
    expires_at: datetime | None = None,
) -> TokenRow:
    return TokenRow(
        id=secrets.token_hex(8),
        name=name,
        scopes=tuple(sorted(scopes)),
        mta=mta,
        hash=token_digest(text),
        created_at=now,
        expires_at=expires_at,
    )


def refuse_third(rows: Collection[TokenRow], mta: str, now: datetime) -> None:
    """Two tokens of an MTA's agent may live at once, so that one can replace the other.

    Raises:
        LimitReached: there are two.
    """
    theirs = [row for row in rows if row.mta == mta]
    if sum(_is_live(row, now) for row in theirs) >= MAX_OF_AGENT:
        raise LimitReached("tokens of this MTA", MAX_OF_AGENT)


def refuse_last_admin(rows: Collection[TokenRow], token: str, now: datetime) -> None:
    """What a delete of a token would be refused for, so that a dry run can say it.

    Raises:
        Unknown: there is no such token.
        LastAdmin: no other one could make tokens.
    """
    found = next((row for row in rows if row.id == token), None)
    if found is None:
        raise Unknown("token")
    others = (row for row in rows if row.id != token and _is_live(row, now))
    if Scope.TOKENS_ADMIN in found.scopes and not any(
        Scope.TOKENS_ADMIN in row.scopes for row in others
    ):
        raise LastAdmin


def _is_live(row: TokenRow, now: datetime) -> bool:
    return row.expires_at is None or row.expires_at > now


async def first_token(store: Store, path: Path, now: datetime) -> bool:
    """Make a token with every scope where there is no token at all; whether one was made.

    The file is written before the row: a start that dies between the two finds its own file and
    goes on with it, and no token is in force that nobody can read.

    Raises:
        TokenFileUnfit: there is a file at `path` that we did not write, or others may read it.
    """
    if await store.tokens():
        return False
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    try:
        _write(path, text)
    except FileExistsError:
        text = _read(path)
    await store.put_token(_row(text, "admin", tuple(Scope), now))
    return True


def _write(path: Path, text: str) -> None:
    """Under its name there is the whole file or none, after a power cut too.

    Raises:
        FileExistsError: there is one.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    opened = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    try:
        with os.fdopen(opened, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    finally:
        partial.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(path: Path) -> str:
    with path.open(encoding="ascii", errors="replace") as file:
        if os.fstat(file.fileno()).st_mode & _OTHERS:
            raise TokenFileUnfit("others may read the file for the first token; remove it")
        text = file.read(len(TOKEN_PREFIX) + 64).strip()
    if not _TOKEN.fullmatch(text):
        raise TokenFileUnfit("the file for the first token holds something else; move it away")
    return text
