"""The server's metrics in Prometheus' text format."""

from typing import Annotated

from fastapi import Depends, Request, Response, Security

from app.server.api.auth import Scope, bearer, known_token
from app.server.api.problems import responses
from app.server.api.services import Control
from app.server.api.v1 import open_router

router = open_router("server")

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


async def _permitted(
    request: Request, services: Control, given: Annotated[object, Security(bearer)]
) -> None:
    if services.options.metrics_token:
        principal = await known_token(request, services, given)
        principal.require(Scope.ROUTING_READ)


@router.get(
    "/metrics",
    summary="The server's metrics",
    response_class=Response,
    responses={200: _TEXT, **responses(401, 403)},
    dependencies=[Depends(_permitted)],
    openapi_extra={"x-required-scopes": [Scope.ROUTING_READ.value]},
)
async def get_metrics(services: Control) -> Response:
    """Everything in Prometheus' text format. The settings say whether it needs a token.

    Scope: `routing:read`, where it needs one.
    """
    metrics = services.metrics
    table = services.live.current().table
    metrics.revision.set(table.revision)
    services.fleet.measure(metrics, services.now(), table)
    return Response(metrics.text(), media_type=MEDIA_TYPE)
