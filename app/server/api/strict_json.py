"""JSON as the API takes it: RFC 8259 read strictly (RFC 7493 for what it leaves open)."""

import json
from collections.abc import Iterable
from typing import NoReturn

from pydantic import JsonValue

from app.routing.errors import ControlError

MAX_DEPTH = 20


class NotJson(ControlError):
    """A body is not the JSON that it says it is."""

    code = "not-json"


def parse_json(body: bytes) -> JsonValue:
    """The value that a body spells.

    Raises:
        NotJson: not UTF-8, a byte order mark, not JSON, NaN or Infinity, a member named twice,
            numbers or nesting beyond what we read.
    """
    if body.startswith(b"\xef\xbb\xbf"):
        raise NotJson("the body begins with a byte order mark; send UTF-8 without one")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJson(f"the body is not UTF-8 at byte {error.start}") from None
    try:
        value: JsonValue = json.loads(
            text,
            object_pairs_hook=_members,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except RecursionError:
        raise NotJson(f"the body is nested deeper than {MAX_DEPTH}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise NotJson(f"the body is not JSON at {where}") from None
    _refuse_depth(value)
    return value


def _members(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotJson("an object of the body names a member twice")
    return members


def _refuse_constant(_: str) -> NoReturn:
    raise NotJson("NaN and Infinity are not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise NotJson("a number of the body is too large")
    return number


def _bounded(text: str) -> int:
    # int() is quadratic in the digits; no integer of the API has more than 19.
    if len(text) > 100:
        raise NotJson("a number of the body is too large")
    return int(text)


def _refuse_depth(value: JsonValue) -> None:
    level: list[JsonValue] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    if any(isinstance(value, dict | list) for value in level):
        raise NotJson(f"the body is nested deeper than {MAX_DEPTH}")


def _inside(value: JsonValue) -> Iterable[JsonValue]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
