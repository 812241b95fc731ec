"""Tokens as rows: the SHA-256 of each, never the token."""

import json
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, or_, select, update

from app.routing.document import canonical_json
from app.routing.errors import LimitReached, Unknown
from app.server.storage import LastAdmin, TokenRow
from app.server.store import mta_rows
from app.server.store.schema import tokens

ADMIN = "tokens:admin"
MAX_LIVE_OF_MTA = 2
"""Two, so that one can be put in the place of the other without a gap."""


def put(connection: Connection, token: TokenRow) -> None:
    """Store a new token. Raises LimitReached, or Unknown for its MTA."""
    if token.mta is not None:
        mta_rows.get(connection, token.mta)
        count = select(func.count()).where(tokens.c.mta == token.mta, _live(token.created_at))
        if connection.execute(count).scalar_one() >= MAX_LIVE_OF_MTA:
            raise LimitReached("tokens of this MTA", MAX_LIVE_OF_MTA)
    connection.execute(
        insert(tokens).values(
            id=token.id,
            name=token.name,
            scopes=canonical_json(token.scopes).decode(),
            mta=token.mta,
            hash=token.hash,
            created_at=token.created_at,
            expires_at=token.expires_at,
            last_used_at=token.last_used_at,
        )
    )


def _live(now: datetime) -> ColumnElement[bool]:
    return or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now)


def every(connection: Connection) -> tuple[TokenRow, ...]:
    """Every token, oldest first."""
    found = (_token(row) for row in connection.execute(select(tokens)))
    return tuple(sorted(found, key=lambda token: (token.created_at, token.id)))


def _token(row: Row[tuple[object, ...]]) -> TokenRow:
    return TokenRow(
        row.id,
        row.name,
        tuple(json.loads(row.scopes)),
        row.mta,
        row.hash,
        row.created_at,
        row.expires_at,
        row.last_used_at,
    )


def by_hash(connection: Connection, digest: str) -> TokenRow | None:
    """The token of that SHA-256, or None."""
    row = connection.execute(select(tokens).where(tokens.c.hash == digest)).first()
    return None if row is None else _token(row)


def remove(connection: Connection, token: str, now: datetime) -> None:
    """Forget a token. Raises Unknown or LastAdmin."""
    found = connection.execute(select(tokens).where(tokens.c.id == token)).first()
    if found is None:
        raise Unknown("token")
    if ADMIN in _token(found).scopes:
        others = select(tokens).where(tokens.c.id != token, _live(now))
        if not any(ADMIN in _token(row).scopes for row in connection.execute(others)):
            raise LastAdmin
    connection.execute(delete(tokens).where(tokens.c.id == token))


def touch(connection: Connection, token: str, at: datetime) -> None:
    """Note when a token was last used."""
    connection.execute(update(tokens).where(tokens.c.id == token).values(last_used_at=at))
