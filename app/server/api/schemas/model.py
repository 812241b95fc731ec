"""What every schema shares: In models refuse what they do not know, Out models promise."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    PlainValidator,
    Strict,
    WithJsonSchema,
    model_validator,
)

from app.server.api.parameters import fault

Lax = Strict(strict=False)
"""For enumerations: JSON has only their texts."""


def _schema_extra(schema: dict[str, Any], model: type["Model"]) -> None:
    """Drop the titles of properties (noise in every client), and add the model's example."""
    properties = schema.get("properties")
    if isinstance(properties, dict):
        for member in properties.values():
            if isinstance(member, dict):
                member.pop("title", None)
    if model.EXAMPLE is not None:
        schema["examples"] = [model.EXAMPLE]


class Model(BaseModel):
    """What In and Out share."""

    EXAMPLE: ClassVar[Any] = None

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra=_schema_extra)


class In(Model):
    """A body. Types are strict, unknown members are refused.

    `READ_ONLY` names the members of the answer that are taken and ignored, so that an answer can
    be sent back.
    """

    READ_ONLY: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _ignore_read_only(cls, given: Any) -> Any:  # noqa: ANN401  whatever was sent
        if cls.READ_ONLY and isinstance(given, dict):
            return {name: value for name, value in given.items() if name not in cls.READ_ONLY}
        return given


class Out(Model):
    """An answer. No member has a default: each is there, null where there is nothing."""

    model_config = ConfigDict(from_attributes=True, extra="ignore")


Time = Annotated[AwareDatetime, Lax]
"""RFC 3339, in UTC."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _read_time(given: object) -> datetime:
    """The moment that a text names; pydantic would take numbers and half a dozen spellings too."""
    if isinstance(given, str) and _TIME.fullmatch(given):
        try:
            return datetime.fromisoformat(given).astimezone(UTC)
        except (ValueError, OverflowError):
            raise fault("bad-time", "there is no such time in any calendar of ours") from None
    raise fault("bad-time", "a time is written as in RFC 3339: 2030-01-31T12:00:00Z")


TimeIn = Annotated[
    datetime, PlainValidator(_read_time), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""RFC 3339, in any zone."""


class State(StrEnum):
    """Whether a relay gets new mail."""

    ACTIVE = "active"
    OUT = "out"
