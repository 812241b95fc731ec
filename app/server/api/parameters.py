"""Types of query, path and header parameters: strict, where pydantic would guess from a text."""

import re
from collections.abc import Callable
from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from app.routing.errors import Refused
from app.routing.names import NAME_PATTERN, parse_label, parse_name

_DIGITS = re.compile(r"-?(0|[1-9][0-9]{0,17})")


def spelt(parse: Callable[[str], object]) -> AfterValidator:
    """Validates a text by a parser of the core, and keeps its canonical spelling."""

    def check(text: str) -> str:
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

_Name = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$"), spelt(parse_name)]
_Label = Annotated[str, spelt(parse_label)]


def _path(description: str, example: str, pattern: str = NAME_PATTERN) -> object:
    schema = {"pattern": f"^{pattern}$"}
    return Path(description=description, examples=[example], json_schema_extra=schema)
