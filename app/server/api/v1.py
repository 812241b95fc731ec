"""Routers below /v1: whoever asks has a token, sends a type that is taken, and known parameters."""

from collections import Counter
from email.message import Message
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse

from app.routing.errors import Fault
from app.server.api import problems
from app.server.api.auth import known_token
from app.server.api.faults import At
from app.server.api.refusals import BadMediaType, BadParameter

PREFIX = "/v1"


class Line(JSONResponse):
    """JSON that ends in a newline: kind to terminals."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401  as the overridden method has it
        """The body."""
        return super().render(content) + b"\n"


async def _refuse_media_type(request: Request) -> None:
    """Refuse a body of a type that the route does not document, with a hint for `curl -d`."""
    taken = _media_types(request.scope["route"])
    given, charset = _content_type(request.headers.get("content-type") or "none/none")
    if given in taken and charset == "utf-8":
        return  # before anything is read: it may be a stream
    if request.headers.get("content-length", "0") == "0" and not await request.body():
        return
    if not taken:
        if request.method in {"GET", "DELETE"} or (await request.body()).strip() == b"{}":
            return  # such a body has no meaning (RFC 9110 9.3.1, 9.3.5), or says nothing
        detail = "this takes no body; the reason of a write goes into the header Relay-Message"
        raise BadMediaType(detail)
    wanted = " or ".join(taken)
    hint = ", for example with curl --json" if "application/json" in taken else " in UTF-8"
    names = "Accept-Patch" if request.method == "PATCH" else "Accept-Post"
    raise BadMediaType(
        f"this takes {wanted}{hint}",
        headers={names: ", ".join(taken), "Accept": ", ".join(taken)},
    )


def _content_type(text: str) -> tuple[str, str]:
    """The media type and the charset of a header, in lower case; utf-8 where none is said."""
    header = Message()
    header["content-type"] = text
    try:
        return header.get_content_type(), header.get_content_charset("utf-8")
    except ValueError:  # parameters of a shape that the library does not expect (RFC 2231)
        return "none/none", ""


def _media_types(route: APIRoute) -> tuple[str, ...]:
    documented = (route.openapi_extra or {}).get("requestBody", {}).get("content", {})
    field = route.body_field
    typed = () if field is None else (str(getattr(field.field_info, "media_type", "")),)
    also = ("application/json",) if "application/merge-patch+json" in typed else ()
    return tuple(dict.fromkeys((*typed, *also, *documented)))


async def _refuse_unknown_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not know, and known ones given twice."""
    if not request.query_params:
        return
    known = _query_parameters(request.scope["route"])
    given = Counter(name for name, _ in request.query_params.multi_items())
    found: list[At] = []
    if given.keys() - known:
        detail = "a query parameter is not known here"
        found.append(At("query", Fault("unknown-parameter", detail)))
    found.extend(
        At("query", Fault("given-twice", "give this once", f"/{name}"))
        for name in sorted(known & given.keys())
        if given[name] > 1
    )
    if found:
        raise BadParameter(*found)


def _query_parameters(route: APIRoute) -> frozenset[str]:
    return frozenset(_names(route.dependant))


def _names(dependant: Dependant) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*(_names(inner) for inner in dependant.dependencies))


def _name(route: APIRoute) -> str:
    """Operation ids are the names of functions: what generated clients call their methods."""
    return route.name


def open_router(tag: str, *, in_schema: bool = True) -> APIRouter:
    """A router for one file of routes that need no token."""
    return APIRouter(
        tags=[tag],
        include_in_schema=in_schema,
        generate_unique_id_function=_name,
        default_response_class=Line,
        responses=problems.responses(),
    )


def router(tag: str) -> APIRouter:
    """A router for one file of routes below /v1."""
    return APIRouter(
        prefix=PREFIX,
        tags=[tag],
        generate_unique_id_function=_name,
        default_response_class=Line,
        dependencies=[
            Depends(known_token),
            Depends(_refuse_media_type),
            Depends(_refuse_unknown_parameters),
        ],
        responses=problems.responses(401, 403, 422),
    )
