"""Tokens in memory: found again without the store, and never for longer than the store has them."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from app.server.api import token_book
from app.server.api.token_book import TokenBook, token_digest

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN, ALIKE = f"rly_{'a' * 43}", f"rly_{'a' * 42}b"


@dataclass
class Row:
    id: str
    name: str = "n"
    scopes: frozenset[str] = frozenset()
    mta: str | None = None
    expires_at: datetime | None = None


class Kept:
    """What is kept of tokens; a look that finds one `held` up says so, and goes on when it may."""

    def __init__(self, *tokens: str) -> None:
        self.rows = {token_digest(token): Row(token) for token in tokens}
        self.asked: list[str] = []
        self.used: list[str] = []
        self.held: tuple[asyncio.Event, asyncio.Event] | None = None

    async def token_by_hash(self, digest: str, /) -> Row | None:
        self.asked.append(digest)
        found = self.rows.get(digest)
        if self.held is not None:
            self.held[0].set()
            await self.held[1].wait()
        return found

    async def touch_token(self, token: str, at: datetime, /) -> None:
        assert at == NOW
        self.used.append(token)


@pytest.fixture
def kept() -> Kept:
    return Kept(TOKEN)


@pytest.fixture
def book(kept: Kept) -> TokenBook:
    return TokenBook(kept, lambda: NOW)


async def test_a_token_is_known_once_it_was_found(kept: Kept, book: TokenBook) -> None:
    assert book.known(TOKEN.encode()) is None
    found = await book.find(TOKEN)
    assert found is not None
    assert found.id == TOKEN
    assert await book.find(TOKEN) is book.known(TOKEN.encode()) is found
    assert kept.asked == [token_digest(TOKEN)]


async def test_another_token_is_another(kept: Kept, book: TokenBook) -> None:
    await book.find(TOKEN)
    for other in (ALIKE.encode(), TOKEN[:-1].encode(), TOKEN.encode() + b"a", b"", b"\xff" * 9000):
        assert book.known(other) is None
    assert await book.find(ALIKE) is None
    assert kept.asked == [token_digest(TOKEN), token_digest(ALIKE)]


async def test_what_another_process_ended_goes_with_the_upkeep(kept: Kept, book: TokenBook) -> None:
    await book.find(TOKEN)
    await book.upkeep()
    assert book.known(TOKEN.encode()) is not None
    assert kept.used == [TOKEN]
    kept.rows.clear()
    await book.upkeep()
    assert book.known(TOKEN.encode()) is None
    assert await book.find(TOKEN) is None


async def test_what_is_not_read_again_in_time_is_not_known(
    book: TokenBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    await book.find(TOKEN)
    monkeypatch.setattr(token_book, "_FRESH_S", -1.0)
    assert book.known(TOKEN.encode()) is None


async def test_a_token_that_ends_while_it_is_read_is_not_remembered(
    kept: Kept, book: TokenBook
) -> None:
    await book.find(TOKEN)
    came, may_go = kept.held = asyncio.Event(), asyncio.Event()
    reading = asyncio.create_task(book.upkeep())
    await came.wait()
    kept.rows.clear()
    book.forget()
    may_go.set()
    await reading
    assert book.known(TOKEN.encode()) is None
