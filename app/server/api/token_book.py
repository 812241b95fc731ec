"""Bearer tokens in memory: a request with a known token asks no disk."""

import hashlib
import re
import secrets
from collections.abc import Callable, Collection
from datetime import datetime
from time import monotonic
from typing import NamedTuple, Protocol

TOKEN_PREFIX = "rly_"  # noqa: S105  what every token begins with, so that scanners find leaked ones
_TOKEN = re.compile(r"rly_[A-Za-z0-9_-]{43}")
_FRESH_S = 30.0


class TokenRow(Protocol):
    """One token as it is stored; never the token itself."""

    @property
    def id(self) -> str:
        """What the token is called in paths."""
        ...

    @property
    def name(self) -> str:
        """What people call it; the author of what is written with it."""
        ...

    @property
    def scopes(self) -> Collection[str]:
        """What it may do."""
        ...

    @property
    def mta(self) -> str | None:
        """The MTA whose agent it belongs to."""
        ...

    @property
    def expires_at(self) -> datetime | None:
        """When it ends; None: when it is deleted."""
        ...


class TokenStore(Protocol):
    """Where tokens are kept, by the SHA-256 of their text."""

    async def token_by_hash(self, digest: str, /) -> TokenRow | None:
        """The token of that digest (hex), or None."""
        ...

    async def touch_token(self, token: str, at: datetime, /) -> None:
        """Note when the token of that id was last used; nothing where it is gone."""
        ...


def token_digest(token: str) -> str:
    """SHA-256 of a token in hex: 32 random bytes need no slower hash."""
    return hashlib.sha256(token.encode("ascii")).hexdigest()


class _Known(NamedTuple):
    """A token that was found.

    Attributes:
        row: as it was last seen in the store.
        digest: see `token_digest`.
        read_at: when that was, of the monotonic clock.
    """

    row: TokenRow
    digest: str
    read_at: float


class TokenBook:
    """Finds tokens; remembers those found, so that only a new token costs a look at the store."""

    def __init__(self, store: TokenStore, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._salt = secrets.token_bytes(16)
        self._rows: dict[bytes, _Known] = {}
        self._used: dict[str, datetime] = {}
        self._forgotten = 0

    async def find(self, token: str) -> TokenRow | None:
        """The row of a token; None alike for one that is malformed, unknown, revoked or expired."""
        if not _TOKEN.fullmatch(token):
            return None
        mark = self._mark(token.encode("ascii"))
        return self._in_force(self._remembered(mark) or await self._read(mark, token_digest(token)))

    def known(self, token: bytes) -> TokenRow | None:
        """As `find`, of what is remembered alone: None says nothing about the token."""
        return self._in_force(self._remembered(self._mark(token)))

    def forget(self) -> None:
        """Read every token anew: one was deleted or changed."""
        self._forgotten += 1
        self._rows.clear()

    async def upkeep(self) -> None:
        """Read again what is remembered, and store when each token was last used.

        Called every few seconds, it is what ends a token that another process revoked, without
        a request having to wait for the store.
        """
        used, self._used = self._used, {}
        for mark, known in tuple(self._rows.items()):
            await self._read(mark, known.digest)
        for token, at in used.items():
            await self._store.touch_token(token, at)

    def _mark(self, token: bytes) -> bytes:
        """What a token is remembered by.

        Between requests, as its code has left the processor's caches, OpenSSL's SHA-256 takes three
        times as long as BLAKE2b; in a loop it does not.
        """
        return hashlib.blake2b(token, digest_size=16, salt=self._salt).digest()

    def _remembered(self, mark: bytes) -> TokenRow | None:
        known = self._rows.get(mark)
        return None if known is None or monotonic() - known.read_at > _FRESH_S else known.row

    def _in_force(self, row: TokenRow | None) -> TokenRow | None:
        now = self._now()
        if row is None or (row.expires_at is not None and row.expires_at <= now):
            return None
        self._used[row.id] = now
        return row

    async def _read(self, mark: bytes, digest: str) -> TokenRow | None:
        while True:
            forgotten = self._forgotten
            row = await self._store.token_by_hash(digest)
            if forgotten == self._forgotten:
                break  # else a token was ended meanwhile, and it may be this one
        if row is None:
            self._rows.pop(mark, None)
        else:
            self._rows[mark] = _Known(row, digest, monotonic())
        return row
