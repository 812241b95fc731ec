"""Pushes: telling MTAs to serve the routing, and following each until it does."""

from typing import Annotated, Any

from fastapi import Path, Query, Response
from starlette.responses import PlainTextResponse

from app.server.api import v1
from app.server.api.accept import WantsText
from app.server.api.auth import Pusher, Reader
from app.server.api.dry_run import DELETED, DryRun, deleted
from app.server.api.pages import Page
from app.server.api.parameters import QueryInt
from app.server.api.problems import responses
from app.server.api.schemas.push import PushIn, PushOut, PushPage, push_text
from app.server.api.services import Control
from app.server.api.v1 import Line
from app.server.pushes import MAX_WAIT_S
from app.server.storage import PushRow

router = v1.router("pushes")

PushId = Annotated[
    QueryInt, Path(alias="id", ge=0, le=2**53, description="Id of a push.", examples=[7])
]
Wait = Annotated[
    QueryInt | None,
    Query(
        ge=0,
        le=int(MAX_WAIT_S),
        description="Wait so many seconds: 200 once it is applied everywhere, 424 otherwise.",
    ),
]
_ORDER = "pushes"
_BOTH: dict[str, Any] = {
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


@router.post(
    "/pushes",
    summary="Push the routing to MTAs",
    status_code=202,
    response_model=PushOut,
    responses={
        200: {"model": PushOut, "description": "Applied everywhere, of `?wait=`", **_BOTH},
        202: {"description": "Told; GET it to follow", **_BOTH},
        **responses(404, 409, 424),
    },
)
async def create_push(  # noqa: PLR0913, PLR0917  what the request says, each part in its place
    principal: Pusher,
    services: Control,
    as_text: WantsText,
    response: Response,
    dry_run: DryRun,
    body: PushIn | None = None,
    wait: Wait = None,
) -> Response:
    """Tells MTAs to serve the head: those named, or all. 202 at once, or `?wait=` for the end."""
    asked = body or PushIn()
    push = await services.pushes.push(
        author=principal.name, mtas=asked.mtas, revision=asked.revision, dry_run=dry_run
    )
    if dry_run:
        return _answer(as_text, response, push, 202)
    response.headers["Location"] = f"/v1/pushes/{push.id}"
    if wait is None:
        return _answer(as_text, response, push, 202)
    return _answer(as_text, response, await services.pushes.applied(push.id, wait))


@router.get("/pushes", summary="List pushes")
async def list_pushes(_: Reader, services: Control, page: Page) -> PushPage:
    """Every push, newest first."""
    rows = await services.store.pushes(page.limit + 1, page.after_number(_ORDER))
    cut = page.page(_ORDER, [((row.id,), PushOut.of(row)) for row in rows])
    return PushPage(items=cut.items, next_cursor=cut.next_cursor)


@router.get(
    "/pushes/{id}",
    summary="Read a push",
    response_model=PushOut,
    responses={200: _BOTH, **responses(404, 424)},
)
async def get_push(
    _: Reader,
    services: Control,
    number: PushId,
    as_text: WantsText,
    response: Response,
    wait: Wait = None,
) -> Response:
    """How far each MTA has come."""
    if wait is None:
        return _answer(as_text, response, await services.store.push(number))
    return _answer(as_text, response, await services.pushes.applied(number, wait))


@router.delete(
    "/pushes/{id}",
    summary="Withdraw a push",
    status_code=204,
    response_class=Response,
    responses={**DELETED, **responses(404)},
)
async def delete_push(_: Pusher, services: Control, number: PushId, dry_run: DryRun) -> Response:
    """Takes back what has not begun; an MTA that is at work on it goes on."""
    if dry_run:
        await services.store.push(number)
    else:
        await services.pushes.withdraw(number)
    return deleted(dry_run=dry_run)


def _answer(as_text: bool, response: Response, push: PushRow, status: int = 200) -> Response:  # noqa: FBT001
    headers = dict(response.headers) | {"Vary": "Accept"}
    if as_text:
        return PlainTextResponse(push_text(push), status, headers)
    return Line(PushOut.of(push).model_dump(mode="json"), status, headers)
