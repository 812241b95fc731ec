"""What every request passes before a route sees it: pure ASGI, one class a duty.

From the outside in: `Numbered` (request id, time, the last resort for errors), `HostChecked`,
`HeadAsGet`, `BodyChecked`.
"""

import asyncio
import logging
import re
import traceback
from collections.abc import Collection, Sequence
from secrets import token_hex
from time import monotonic

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observe import REQUEST_ID, Metrics, event
from app.routing.errors import ControlError
from app.server.api.meanings import MEANINGS
from app.server.api.problems import Problem, problem_of
from app.server.api.refusals import BadHost, BadMediaType, BodyTooLarge, EdgeError
from app.server.api.strict_json import parse_json

MAX_BODY = 1 << 20
_BIG = 1 << 16
BODY_LIMIT_S = 60.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NO_ROUTE = "none"
IS_HEAD = "relaymap.head"
"""In the scope of a GET that was HEAD, so that a long answer need not be made."""


class Numbered:
    """Gives each request an id, counts and times it, and answers for errors that nobody foresaw."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if is_request_id(given) else token_hex(8)
        marker = REQUEST_ID.set(request_id)
        began, status = monotonic(), 0

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, numbered)
        except Exception as error:
            log_unforeseen(error)
            if status:  # the answer has begun: the server cuts the connection
                raise
            problem = Problem(500, "internal", MEANINGS["internal"].text)
            await problem.response()(scope, receive, numbered)
        finally:
            self._count(scope, status, monotonic() - began)
            REQUEST_ID.reset(marker)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        # The template and not the path, which a client chooses: labels must stay few.
        route = getattr(scope.get("route"), "path_format", _NO_ROUTE)
        method = scope["method"] if route != _NO_ROUTE else "any"
        self._metrics.http_requests.add(route, method, str(status))
        self._metrics.http_request_seconds.observe(seconds)


def is_request_id(text: str) -> bool:
    """Whether an id that a client gave a request is one that we answer with."""
    return _REQUEST_ID.fullmatch(text) is not None


def log_unforeseen(error: Exception) -> None:
    """Say where it happened; the message of an error may quote what was sent, a password too."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    event("unforeseen-error", logging.ERROR, error=type(error).__qualname__, where=where)


class HostChecked:
    """Refuses requests for other hosts: a page elsewhere cannot reach us by DNS rebinding."""

    def __init__(self, app: ASGIApp, allowed: frozenset[str]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        hosts = Headers(scope=scope).getlist("host") if scope["type"] == "http" else None
        if hosts is not None and not is_ours(hosts, self._allowed):
            refusal = BadHost("the Host header is none of the names that this server answers to")
            await problem_of(refusal).response()(scope, receive, send)
            return
        await self._app(scope, receive, send)


def is_ours(hosts: Sequence[str], allowed: Collection[str]) -> bool:
    """Whether the Host headers of a request are one, and name us."""
    if len(hosts) != 1:
        return False
    name, colon, port = hosts[0].lower().rpartition(":")
    if not colon or port.endswith("]"):  # no port: a name, or an IPv6 address in brackets
        return hosts[0].lower() in allowed
    return name in allowed and port.isdigit()


class HeadAsGet:
    """Answers HEAD where there is GET, as RFC 9110 9.3.2 asks; the server sends no content."""

    def __init__(self, app: ASGIApp, but: frozenset[str]) -> None:
        """Leave the paths in `but` alone: a long poll has no HEAD."""
        self._app = app
        self._but = but

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as a GET."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"] in self._but:
            await self._app(scope, receive, send)
            return

        async def without_content(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # A copy: the HTTP server still has to know that it was HEAD.
        inner = {**scope, "method": "GET", IS_HEAD: True}
        try:
            await self._app(inner, receive, without_content)
        finally:
            scope["route"] = inner.get("route")


class BodyChecked:
    """Bounds bodies, refuses compressed ones, and reads JSON strictly before anything else does."""

    def __init__(self, app: ASGIApp, streams: re.Pattern[str], uploads: re.Pattern[str]) -> None:
        """Leave to the routes of `streams` to read and bound what is not JSON, as it comes.

        To the routes of `uploads`, JSON too.
        """
        self._app = app
        self._streams = streams
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        said_json = is_json(headers.get("content-type", ""))
        try:
            _refuse_compressed(headers)
            if self._is_left_to_route(scope, said_json=said_json):
                await self._app(scope, receive, send)
                return
            body = await _read(headers, receive)
            if body and said_json:
                await _refuse_odd(body)
        except ControlError as refusal:
            await problem_of(refusal).response()(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    def _is_left_to_route(self, scope: Scope, *, said_json: bool) -> bool:
        path = scope["path"]
        if scope["method"] == "POST" and self._uploads.fullmatch(path):
            return True
        return not said_json and self._streams.fullmatch(path) is not None


async def _refuse_odd(body: bytes) -> None:
    """Refuse what is not JSON as we read it. Raises NotJson."""
    if len(body) > _BIG:  # others are answered while somebody's megabyte is looked through
        await asyncio.to_thread(parse_json, body)
    else:
        parse_json(body)


def _refuse_compressed(headers: Headers) -> None:
    if headers.get("content-encoding", "identity") != "identity":
        raise BadMediaType("send the body uncompressed", headers={"Accept-Encoding": "identity"})


async def _read(headers: Headers, receive: Receive) -> bytes:
    if int(headers.get("content-length") or 0) > MAX_BODY:
        raise _too_large()
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            return await _received(receive)
    except TimeoutError:
        slow = f"the body did not come within {BODY_LIMIT_S:g} s"
        raise EdgeError(slow, headers={"Connection": "close"}) from None


async def _received(receive: Receive) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise EdgeError("the client went away")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            raise _too_large()
    return bytes(body)


def _too_large() -> BodyTooLarge:
    detail = f"the body holds more than {MAX_BODY} octets"
    return BodyTooLarge(detail, headers={"Connection": "close"})


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def is_json(content_type: str) -> bool:
    """Whether a Content-Type says JSON, or a type made of it (RFC 6839 3.1)."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")
