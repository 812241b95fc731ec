"""Types of query, path and header parameters: strict, where pydantic would guess from a text."""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from app.routing.errors import Refused

_DIGITS = re.compile(r"-?(0|[1-9][0-9]{0,17})")


LONGEST = 512
"""More than any text of our grammars needs; bounds what a parser is given."""


def spelt(parse: Callable[[str], object]) -> AfterValidator:
    """Validates a text by a parser of the core, and keeps its canonical spelling."""

    def check(text: str) -> str:
        if len(text) > LONGEST:
            raise fault("too-long", f"this is longer than {LONGEST} characters")
        try:
            return str(parse(text))
        except Refused as refused:
            raise fault(refused.code, str(refused)) from None

    return AfterValidator(check)


def fault(code: str, detail: str) -> PydanticCustomError:
    """A fault of our own for pydantic to carry."""
    return PydanticCustomError(code, "{detail}", {"detail": detail})


def _read_integer(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not _DIGITS.fullmatch(value):
        raise fault("bad-type", "a whole number is wanted here")
    return int(value)


def _read_flag(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in {"true", "false"}:
        raise fault("bad-type", "true or false is wanted here")
    return value == "true"


QueryInt = Annotated[int, BeforeValidator(_read_integer)]
"""An integer in digits; pydantic would take "1.0", " 1" and "1_0" as well."""

QueryFlag = Annotated[bool, BeforeValidator(_read_flag)]
"""`true` or `false`; pydantic would take "on", "y" and "0" as well."""


def path(alias: str, description: str, example: str) -> Any:  # noqa: ANN401  as Path itself
    """A path parameter; `alias` is its name in the path."""
    return Path(alias=alias, description=description, examples=[example])


class PushMode(StrEnum):
    """What to do after a write."""

    WAIT = "wait"
