"""Pages of a list: keyset cursors, opaque to the caller, checked before they are used."""

import base64
import heapq
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response

from app.routing.errors import Fault
from app.server.api.faults import At
from app.server.api.parameters import QueryInt
from app.server.api.refusals import BadParameter

Key = tuple[int | str, ...]
"""What a list is sorted by: a name, a number, or a priority and a name."""

T = TypeVar("T")

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
_MAX_NUMBER = 2**53
"""Of a push or a revision; a database takes no more than 64 bits."""

_IS_KEPT = re.compile(r"[^\0\ud800-\udfff]*")
"""Text as databases keep it."""


@dataclass(frozen=True, slots=True)
class Cut(Generic[T]):
    """One page of a list.

    Attributes:
        next_cursor: where the next one begins; None where there is none.
    """

    items: list[T]
    next_cursor: str | None


class Paging:
    """Where a page begins and how much it holds, as the request says."""

    def __init__(
        self,
        request: Request,
        response: Response,
        limit: Annotated[
            QueryInt, Query(ge=1, le=MAX_LIMIT, description="How many at most.")
        ] = DEFAULT_LIMIT,
        cursor: Annotated[
            str | None, Query(description="`next_cursor` of the page before.", max_length=2048)
        ] = None,
    ) -> None:
        self.limit = limit
        self._cursor = cursor
        self._request = request
        self._response = response

    def cut(self, of: str, items: Mapping[str, T]) -> Cut[T]:
        """The page of items by name."""
        return self.among(of, (((name,), item) for name, item in items.items()), str)

    def among(self, of: str, keyed: Iterable[tuple[Key, T]], *kinds: type[int | str]) -> Cut[T]:
        """The page of items by key; `kinds` are the types of a key's parts.

        Raises:
            BadParameter: the cursor is none of this list.
        """
        after = self._after(of)
        if after is not None:
            if tuple(map(type, after)) != kinds:
                raise _no_cursor()
            keyed = (pair for pair in keyed if pair[0] > after)
        return self.page(of, heapq.nsmallest(self.limit + 1, keyed, key=itemgetter(0)))

    def page(self, of: str, keyed: Sequence[tuple[Key, T]]) -> Cut[T]:
        """The page of items that are sorted already: one over the limit, where there are more."""
        shown = keyed[: self.limit]
        cursor = _encode(of, shown[-1][0]) if len(keyed) > len(shown) else None
        if cursor is not None:
            given = self._request.query_params.multi_items()
            others = [(name, value) for name, value in given if name != "cursor"]
            query = urlencode([*others, ("cursor", cursor)])
            self._response.headers["Link"] = f'<{self._request.url.path}?{query}>; rel="next"'
        return Cut([item for _, item in shown], cursor)

    def after_number(self, of: str) -> int | None:
        """The number that the page comes after; None for the first page. Raises BadParameter."""
        match self._after(of):
            case None:
                return None
            case (int() as number,) if 0 <= number <= _MAX_NUMBER:
                return number
            case _:
                raise _no_cursor()

    def after_text(self, of: str) -> str:
        """The name that the page comes after; "" for the first page. Raises BadParameter."""
        match self._after(of):
            case None:
                return ""
            case (str() as text,) if _IS_KEPT.fullmatch(text):
                return text
            case _:
                raise _no_cursor()

    def _after(self, of: str) -> Key | None:
        if self._cursor is None:
            return None
        try:
            name, *key = _decode(self._cursor)
        except (ValueError, RecursionError):
            raise _no_cursor() from None
        if name != of or not all(type(part) in {int, str} for part in key):
            raise _no_cursor()
        return tuple(key)


Page = Annotated[Paging, Depends(Paging)]
"""Where a page begins and how much it holds."""


def _no_cursor() -> BadParameter:
    detail = "this is no cursor of this list; begin without one"
    return BadParameter(At("query", Fault("bad-cursor", detail, "/cursor")))


def _encode(of: str, key: Key) -> str:
    text = json.dumps([of, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str) -> list[Any]:
    """The list, and the key in it. Raises ValueError for what `_encode` did not make."""
    padded = cursor + "=" * (-len(cursor) % 4)
    decoded = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    if not isinstance(decoded, list) or not decoded:
        raise ValueError
    return decoded
