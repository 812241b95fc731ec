"""Who asks, and what their token may do."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPBearer, SecurityScopes

from app.server.api.refusals import MissingScope, Unauthenticated
from app.server.api.services import Control
from app.server.api.token_book import TokenRow


class Scope(StrEnum):
    """What a token may do; none implies another."""

    RESOLVE = "resolve"
    ROUTING_READ = "routing:read"
    ROUTING_WRITE = "routing:write"
    OPERATE = "operate"
    CREDENTIALS_WRITE = "credentials:write"
    MTAS_WRITE = "mtas:write"
    PUSH = "push"
    TOKENS_ADMIN = "tokens:admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a token.

    Attributes:
        name: the author of what is written with it.
        mta: the MTA whose agent it is; such a token has no scope.
    """

    id: str
    name: str
    scopes: frozenset[str]
    mta: str | None = None

    def require(self, *scopes: str) -> None:
        """Refuse unless the token has each of these scopes.

        Raises:
            MissingScope: names the first that it has not.
        """
        for scope in scopes:
            if scope not in self.scopes:
                challenge = f'Bearer realm="relaymap", error="insufficient_scope", scope="{scope}"'
                raise MissingScope(
                    f"this needs a token with the scope {scope}",
                    headers={"WWW-Authenticate": challenge},
                    members={"scope": scope},
                )


bearer = HTTPBearer(
    scheme_name="bearer",
    bearerFormat="rly_…",
    description="A token made by `POST /v1/tokens`; the first is in `STATE_DIR/admin.token`.",
    auto_error=False,
)


async def known_token(
    request: Request, services: Control, _: Annotated[object, Security(bearer)]
) -> Principal:
    """The holder of the request's token.

    Raises:
        Unauthenticated: alike for no token, a malformed, unknown, revoked or expired one.
    """
    token = _token(request.headers.getlist("authorization"))
    row: TokenRow | None = None if token is None else await services.tokens.find(token)
    if row is None:
        error = "" if token is None else ', error="invalid_token"'
        raise Unauthenticated(
            "send Authorization: Bearer with a token that is valid here",
            headers={"WWW-Authenticate": f'Bearer realm="relaymap"{error}'},
        )
    scopes = frozenset(row.scopes) if row.mta is None else frozenset[str]()
    return Principal(row.id, row.name, scopes, row.mta)


def _token(given: Sequence[str]) -> str | None:
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return token if scheme.lower() == "bearer" and token else None


Anyone = Annotated[Principal, Security(known_token)]
"""Whoever has a token."""


async def _permitted(principal: Anyone, scopes: SecurityScopes) -> Principal:
    principal.require(*scopes.scopes)
    return principal


Asker = Annotated[Principal, Security(_permitted, scopes=[Scope.RESOLVE])]
Reader = Annotated[Principal, Security(_permitted, scopes=[Scope.ROUTING_READ])]
Writer = Annotated[Principal, Security(_permitted, scopes=[Scope.ROUTING_WRITE])]
Operator = Annotated[Principal, Security(_permitted, scopes=[Scope.OPERATE])]
CredentialWriter = Annotated[Principal, Security(_permitted, scopes=[Scope.CREDENTIALS_WRITE])]
MtaWriter = Annotated[Principal, Security(_permitted, scopes=[Scope.MTAS_WRITE])]
Pusher = Annotated[Principal, Security(_permitted, scopes=[Scope.PUSH])]
TokenAdmin = Annotated[Principal, Security(_permitted, scopes=[Scope.TOKENS_ADMIN])]


async def _agent(principal: Anyone) -> str:
    if principal.mta is None:
        raise MissingScope("this is for agents; make their token with POST /v1/mtas/{mta}/token")
    return principal.mta


AgentOf = Annotated[str, Security(_agent)]
"""The MTA whose agent asks."""
