"""Which of several forms of an answer a client wants (RFC 9110 12.5.1)."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Header

_TEXT = "text/plain"
_JSON = "application/json"


def prefers_text(accept: str) -> bool:
    """Whether an Accept header names text/plain, and nothing that JSON is before it."""
    weights = _weights(accept)
    wanted = weights.get(_TEXT, weights.get("text/*", 0.0))
    other = weights.get(_JSON, weights.get("application/*", 0.0))
    return wanted > other


def preferred(accept: str, offered: Sequence[str]) -> str:
    """The media type that an Accept header wants most; of equals, and of none, the first."""
    weights = _weights(accept)

    def wanted(media_type: str) -> float:
        family = media_type.partition("/")[0] + "/*"
        ranges = (media_type, family, "*/*")
        return next((weights[each] for each in ranges if each in weights), 0.0)

    return max(offered, key=wanted)


def _weights(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in accept.split(","):
        media_type, *parameters = (each.strip().lower() for each in part.split(";"))
        weights[media_type] = _weight(parameters)
    return weights


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


async def _wants_text(accept: Annotated[str, Header(include_in_schema=False)] = "") -> bool:
    return prefers_text(accept)


WantsText = Annotated[bool, Depends(_wants_text)]
"""Whether the answer is to be text/plain rather than JSON."""
