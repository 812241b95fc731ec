"""Tokens over HTTP: what clients write; the token itself is in one answer, once."""

from typing import Annotated, ClassVar

from pydantic import Field

from app.routing.document import MAX_TEXT, parse_line
from app.routing.errors import Refused
from app.server.api.auth import Principal, Scope
from app.server.api.parameters import spelt
from app.server.api.schemas.model import In, Lax, Out, Time, TimeIn
from app.server.storage import TokenRow


def _parse_token_name(text: str) -> str:
    """What people call a token: it is the author in the journal.

    Raises:
        Refused: `bad-text`.
    """
    if not text.strip():
        raise Refused("bad-text", "a token needs a name: it is the author of what is written")
    return parse_line(text)


TokenName = Annotated[
    str, Field(json_schema_extra={"minLength": 1, "maxLength": MAX_TEXT}), spelt(_parse_token_name)
]


class TokenIn(In):
    """A token to make."""

    READ_ONLY = frozenset({"id", "mta", "created_at", "last_used_at", "token"})
    EXAMPLE: ClassVar[object] = {
        "name": "ansible",
        "scopes": ["routing:read", "routing:write", "push"],
        "expires_at": None,
    }

    name: TokenName
    scopes: Annotated[list[Annotated[Scope, Lax]], Field(min_length=1, max_length=len(Scope))]
    """What it may do; none implies another."""
    expires_at: TimeIn | None = None
    """When it ends; null: when it is deleted."""


class AgentTokenIn(In):
    """An agent's token to make: it is bound to the MTA and has no scope."""

    READ_ONLY = TokenIn.READ_ONLY | {"name", "scopes"}
    EXAMPLE: ClassVar[object] = {"expires_at": None}

    expires_at: TimeIn | None = None


class TokenOut(Out):
    """A token, without the token."""

    EXAMPLE: ClassVar[object] = {
        "id": "5f1d7a0c9b3e2846",
        "name": "ansible",
        "scopes": ["push", "routing:read", "routing:write"],
        "mta": None,
        "created_at": "2026-05-01T12:00:00Z",
        "expires_at": None,
        "last_used_at": None,
    }

    id: str
    name: str
    scopes: list[Scope]
    mta: str | None
    """The MTA whose agent it is for."""
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None
    """To within some seconds."""


class TokenMade(TokenOut):
    """A token and, this once, its text."""

    EXAMPLE: ClassVar[object] = TokenOut.EXAMPLE | {"token": "rly_…"}  # type: ignore[operator]

    token: str | None
    """Send it as `Authorization: Bearer …`. Null of a dry run."""

    @classmethod
    def made(cls, row: TokenRow, text: str | None) -> "TokenMade":
        """The answer for a new row."""
        return cls(**TokenOut.model_validate(row).model_dump(), token=text)


class TokenPage(Out):
    """Some tokens, by id."""

    items: list[TokenOut]
    next_cursor: str | None


class Whoami(Out):
    """Who asks."""

    EXAMPLE: ClassVar[object] = {
        "id": "5f1d7a0c9b3e2846",
        "name": "ansible",
        "scopes": ["push", "routing:read", "routing:write"],
        "mta": None,
    }

    id: str
    name: str
    scopes: list[Scope]
    mta: str | None

    @classmethod
    def of(cls, principal: Principal) -> "Whoami":
        """The answer for a caller."""
        return cls(
            id=principal.id,
            name=principal.name,
            scopes=[scope for scope in Scope if scope in principal.scopes],
            mta=principal.mta,
        )
