"""The application: its routes, what every request passes, and how every error is answered."""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException  # noqa: TID251  what the framework raises
from starlette.responses import Response
from starlette.routing import compile_path

from app import __version__
from app.routing.errors import ControlError
from app.server.api.gate import BodyChecked, HeadAsGet, HostChecked, Numbered
from app.server.api.hot import Hot
from app.server.api.openapi import TAGS, document
from app.server.api.preconditions import NotModified, answer_not_modified
from app.server.api.problems import Problem, answer_control_error, answer_validation_error
from app.server.api.routes import LONG_POLLS, ROUTERS, STREAMS, UPLOADS
from app.server.api.services import Services


def create_app(services: Services) -> FastAPI:
    """The ASGI application that serves the API with these services."""
    app = routes_only()
    app.state.services = services
    # The last one added stands outermost.
    app.add_middleware(BodyChecked, streams=STREAMS, uploads=UPLOADS)
    app.add_middleware(HeadAsGet, but=LONG_POLLS)
    app.add_middleware(HostChecked, allowed=services.options.allowed_hosts)
    app.add_middleware(Numbered, metrics=services.metrics)
    return app


def served(services: Services) -> Hot:
    """The same, with the busiest questions answered in front of it."""
    return Hot(create_app(services), services)


def routes_only() -> FastAPI:
    """The application without services: enough to describe it."""
    app = _Documented(
        title="Relaymap",
        version=__version__,
        summary="Where mail leaves, over HTTP",
        license_info={"name": "ISC", "identifier": "ISC"},
        servers=[{"url": "/", "description": "this server"}],
        openapi_tags=TAGS,
        separate_input_output_schemas=False,
        redirect_slashes=False,  # a redirect would lose bodies and send tokens along
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # a route of ours serves it
        strict_content_type=True,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for router in ROUTERS:
        # Not included but taken over: each router says all that its routes need, and including
        # would work every route out anew for each application, half a second of it.
        app.router.routes.extend(router.routes)
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    return app


class _Documented(FastAPI):
    """FastAPI with a document that generators and linters take."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if not self.openapi_schema:
            self.openapi_schema = document(self, super().openapi())
        return self.openapi_schema


async def _answer_of_framework(request: Request, error: HTTPException) -> Response:
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(sorted(_methods(request.app, request.scope["path"])))
        detail = "the path does not take this method; see Allow"
        return Problem(405, "method-not-allowed", detail, headers={"Allow": allowed}).response()
    if error.status_code == HTTPStatus.NOT_FOUND:
        return Problem(404, "not-found", "there is nothing under this path").response()
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Problem(413, "body-too-large", "the body is too large").response()
    return Problem(error.status_code, "bad-request", "the request is malformed").response()


def _methods(app: FastAPI, path: str) -> set[str]:
    """Every method that a path takes: the framework's own Allow has those of one route alone."""
    methods = {method for matches, own in _route_table(app) if matches(path) for method in own}
    if "GET" in methods and path not in LONG_POLLS:
        methods.add("HEAD")
    return methods


@lru_cache(maxsize=8)
def _route_table(app: FastAPI) -> tuple[tuple[Callable[[str], object], frozenset[str]], ...]:
    return tuple(
        (compile_path(context.path)[0].match, frozenset(context.methods or ()))
        for context in iter_route_contexts(app.routes)
        if context.path is not None
    )


_ANSWERS: dict[type[Exception], Callable[..., Awaitable[Response]]] = {
    ControlError: answer_control_error,
    RequestValidationError: answer_validation_error,
    NotModified: answer_not_modified,
    HTTPException: _answer_of_framework,
}
"""How an error becomes an answer: each function takes the request and an error of its kind."""
