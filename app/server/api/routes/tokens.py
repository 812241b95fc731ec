"""Tokens: who may do what; their text is in the answer that made them, and nowhere else."""

from collections.abc import Collection
from datetime import datetime
from typing import Annotated

from fastapi import Path, Response

from app.routing.errors import Fault
from app.server.api import v1
from app.server.api.auth import Anyone, TokenAdmin
from app.server.api.dry_run import DELETED, DryRun, deleted
from app.server.api.faults import At
from app.server.api.pages import Page
from app.server.api.problems import responses
from app.server.api.refusals import BadParameter
from app.server.api.routes.mtas import MtaPath
from app.server.api.schemas.token import (
    AgentTokenIn,
    TokenIn,
    TokenMade,
    TokenOut,
    TokenPage,
    Whoami,
)
from app.server.api.services import Control, Services
from app.server.storage import TokenRow
from app.server.tokens import make_token, refuse_last_admin, refuse_third

router = v1.router("tokens")

TokenId = Annotated[
    str, Path(alias="id", description="Id of a token.", examples=["5f1d7a0c9b3e2846"])
]
_ORDER = "tokens"


@router.get("/whoami", summary="Whose token is this?")
async def get_whoami(principal: Anyone) -> Whoami:
    """The name, scopes and MTA of the token that asks."""
    return Whoami.of(principal)


@router.get("/tokens", summary="List tokens")
async def list_tokens(_: TokenAdmin, services: Control, page: Page) -> TokenPage:
    """Every token, by id; never its text."""
    rows = await services.store.tokens()
    cut = page.cut(_ORDER, {row.id: TokenOut.model_validate(row) for row in rows})
    return TokenPage(items=cut.items, next_cursor=cut.next_cursor)


@router.post("/tokens", summary="Make a token", status_code=201)
async def create_token(
    _: TokenAdmin, services: Control, response: Response, dry_run: DryRun, body: TokenIn
) -> TokenMade:
    """A new token; its text is in this answer and cannot be had again."""
    scopes = {scope.value for scope in body.scopes}
    row, text = _new(body.name, scopes, services.now(), body.expires_at)
    return await _made(services, response, row, None if dry_run else text)


@router.post(
    "/mtas/{mta}/token",
    summary="Make a token for an MTA's agent",
    status_code=201,
    responses=responses(404, 409),
)
async def create_agent_token(
    _: TokenAdmin,
    services: Control,
    mta: MtaPath,
    response: Response,
    dry_run: DryRun,
    body: AgentTokenIn | None = None,
) -> TokenMade:
    """A token that can read what this MTA is to serve, report for it, and nothing else.

    Two may live at once, so that one can be replaced: make, install, delete the old one.
    """
    services.fleet.report(mta)
    expires_at = None if body is None else body.expires_at
    row, text = _new(f"agent of {mta}", (), services.now(), expires_at, mta)
    refuse_third(await services.store.tokens(), mta, row.created_at)
    return await _made(services, response, row, None if dry_run else text)


@router.delete(
    "/tokens/{id}",
    summary="End a token",
    status_code=204,
    response_class=Response,
    responses={**DELETED, **responses(404, 409)},
)
async def delete_token(
    _: TokenAdmin, services: Control, token_id: TokenId, dry_run: DryRun
) -> Response:
    """The token is refused from now on."""
    refuse_last_admin(await services.store.tokens(), token_id, services.now())
    if not dry_run:
        await services.store.delete_token(token_id, services.now())
        services.tokens.forget()
    return deleted(dry_run=dry_run)


def _new(
    name: str,
    scopes: Collection[str],
    now: datetime,
    expires_at: datetime | None,
    mta: str | None = None,
) -> tuple[TokenRow, str]:
    if expires_at is not None and expires_at <= now:
        fault = Fault("out-of-range", "this lies in the past", "/expires_at")
        raise BadParameter(At("body", fault))
    return make_token(name, scopes, now, mta=mta, expires_at=expires_at)


async def _made(
    services: Services, response: Response, row: TokenRow, text: str | None
) -> TokenMade:
    response.headers["Cache-Control"] = "no-store"
    if text is not None:
        await services.store.put_token(row)
    return TokenMade.made(row, text)
