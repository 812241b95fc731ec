"""Every error as a problem document (RFC 9457): the one table of statuses."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import JsonValue
from starlette.responses import Response

from app.observe import REQUEST_ID
from app.render.opensmtpd.spelling import Unwritable
from app.routing import errors
from app.routing.errors import ControlError, Fault
from app.server.api import faults
from app.server.api.faults import At
from app.server.api.meanings import MEANINGS
from app.server.api.refusals import (
    AlreadyThere,
    BadMediaType,
    BadParameter,
    BodyTooLarge,
    EdgeError,
    ImportRefused,
    ImportsBusy,
    MissingScope,
    NothingMatches,
    PreconditionNeeded,
    TooManyDeletes,
    Unauthenticated,
)
from app.server.api.schemas.push import PushOut
from app.server.api.strict_json import NotJson
from app.server.confirmed import NothingConfirmed
from app.server.fleet import AnotherAgent, MtaNeverSeen
from app.server.push_errors import NoMta, NotTheHead, PushMissed
from app.server.storage import LastAdmin, StorageDamaged, StorageTrouble

MEDIA_TYPE = "application/problem+json"
T = TypeVar("T")


STATUS: dict[type[ControlError], int] = {
    errors.Refused: 422,
    errors.Invalid: 422,
    errors.Unknown: 404,
    errors.NameTaken: 409,
    errors.StillReferenced: 409,
    errors.RevisionMoved: 412,
    errors.LimitReached: 409,
    errors.CredentialMissing: 409,
    errors.RevisionPruned: 410,
    errors.NotExpressible: 422,
    Unwritable: 500,
    LastAdmin: 409,
    AnotherAgent: 409,
    MtaNeverSeen: 409,
    NothingConfirmed: 409,
    NoMta: 409,
    NotTheHead: 409,
    PushMissed: 424,
    StorageTrouble: 503,
    StorageDamaged: 503,
    NotJson: 400,
    EdgeError: 400,
    Unauthenticated: 401,
    MissingScope: 403,
    BodyTooLarge: 413,
    BadMediaType: 415,
    PreconditionNeeded: 428,
    AlreadyThere: 412,
    NothingMatches: 412,
    ImportRefused: 422,
    TooManyDeletes: 409,
    ImportsBusy: 503,
}
"""The status of every error over HTTP; the nearest class of its ancestry counts."""

_RETRY_AFTER_S = "2"
_MAX_LISTED = 1_000
"""Findings in one problem; `detail` says how many there are."""

Members = dict[str, JsonValue]
MEMBERS: dict[type[ControlError], Callable[[Any], Members]] = {
    errors.StillReferenced: lambda error: {"users": list(error.users), "more": error.more},
    errors.RevisionMoved: lambda error: {"current": error.current},
    errors.RevisionPruned: lambda error: {"oldest": error.oldest},
    ImportRefused: lambda error: {"report": error.report},
    TooManyDeletes: lambda error: {
        "deletes": error.deletes,
        "max_deletes": error.max_deletes,
        "entries": error.entries,
    },
    PushMissed: lambda error: {"push": PushOut.of(error.push).model_dump(mode="json")},
}
"""What the problem of an error says beside the usual members; by its nearest class."""


PROMOTED = frozenset({"credential-not-for-host", "patch-relays-one-by-one"})
"""Codes of faults that name the whole problem where no other fault was found beside them."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem document and the answer around it."""

    status: int
    code: str
    detail: str
    found: Sequence[At] = ()
    members: Mapping[str, JsonValue] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """The answer."""
        headers = {"Cache-Control": "no-store", **self.headers}
        return Response(self.body(), self.status, headers, MEDIA_TYPE)

    def body(self) -> bytes:
        """The document, as it is sent."""
        return json.dumps(self.document(), ensure_ascii=False).encode() + b"\n"

    def document(self) -> dict[str, JsonValue]:
        """The document."""
        request_id = REQUEST_ID.get() or ""
        meaning = MEANINGS.get(self.code)
        return {
            "type": f"/problems/{self.code}",
            "title": meaning.title if meaning else HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": f"/requests/{request_id}",
            "code": self.code,
            "request_id": request_id,
            "errors": [dict(at.document()) for at in self.found[:_MAX_LISTED]],
            **self.members,
        }


def problem_of(error: ControlError) -> Problem:
    """The problem that an error is over HTTP."""
    status = _nearest(STATUS, error)
    if status in {None, 500}:  # a fault of ours: its text is not for callers
        return Problem(500, "internal", MEANINGS["internal"].text)
    if isinstance(error, EdgeError):
        return Problem(status, error.code, str(error), (), error.members, error.headers)
    found = _found(error)
    members = _nearest(MEMBERS, error)
    return Problem(
        status,
        _code(error, found),
        _detail(error, found),
        found,
        {} if members is None else members(error),
        _headers(error, status),
    )


def _nearest(table: Mapping[type[ControlError], T], error: ControlError) -> T | None:
    return next((table[kind] for kind in type(error).__mro__ if kind in table), None)


def _found(error: ControlError) -> tuple[At, ...]:
    if isinstance(error, BadParameter):
        return error.found
    return tuple(At("body", fault) for fault in _faults(error))


def _faults(error: ControlError) -> Iterable[Fault]:
    match error:
        case errors.Invalid(faults=faults):
            return map(_without_names, faults)
        case errors.CredentialMissing(faults=faults) | ImportRefused(faults=faults):
            return faults
        case errors.Refused(fault=fault):
            return (fault,)
        case errors.Unknown(pointer=place) if place:
            return (Fault(error.code, str(error), place),)
        case errors.NotExpressible(reasons=reasons):
            return (Fault(each.code, f"{each.subject}: {each.detail}") for each in reasons)
        case _:
            return ()


NAMELESS = {
    "dangling-map": "there is no relay map of that name: make it first, or name another",
    "dangling-table": "there is no table of that name: make it first, or name another",
    "dangling-credential": "there is no credential of that label: store it first",
    "credential-not-for-host": (
        "the credential may not be sent to this host: whoever may write credentials can add the"
        " host to it"
    ),
    "credential-needs-verify": (
        "a credential of its relays goes only to relays whose certificate is checked: whoever may"
        " write credentials can allow it"
    ),
}
"""Findings name what they are about; where a refusal points into the body, that name was just sent
there, and is not echoed."""


def _without_names(fault: Fault) -> Fault:
    detail = NAMELESS.get(fault.code, fault.detail) if fault.pointer else fault.detail
    return Fault(fault.code, detail, fault.pointer)


def _code(error: ControlError, found: Sequence[At]) -> str:
    if isinstance(error, errors.Invalid):
        return _promoted(found) or error.code
    return "invalid" if isinstance(error, errors.Refused) else error.code


def _promoted(found: Sequence[At]) -> str | None:
    codes = {at.fault.code for at in found}
    return codes.pop() if len(codes) == 1 and codes <= PROMOTED else None


def _detail(error: Exception, found: Sequence[At]) -> str:
    """One fault in its own words; of several, how many there are."""
    if isinstance(error, ImportRefused):
        return str(error)
    if len(found) > 1:
        return f"{len(found)} things are wrong; see errors"
    return found[0].fault.detail if found else str(error)


def _headers(error: ControlError, status: int) -> dict[str, str]:
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": _RETRY_AFTER_S}
    if isinstance(error, errors.RevisionMoved):
        return {"Relay-Revision": str(error.current)}
    if isinstance(error, PushMissed):
        return error.headers
    return {}


def problem_of_validation(error: RequestValidationError) -> Problem:
    """The problem of a request that the schemas refuse; no value that was sent is in it."""
    found = faults.of_validation(error.errors(), error.body)
    return Problem(422, _promoted(found) or "invalid", _detail(error, found), found)


async def answer_control_error(_: Request, error: ControlError) -> Response:
    """The answer to an error that we raised on purpose."""
    return problem_of(error).response()


async def answer_validation_error(_: Request, error: RequestValidationError) -> Response:
    """The answer to a request that the schemas refuse."""
    return problem_of_validation(error).response()


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route documents: these problems, and the default one."""
    named: dict[int | str, dict[str, Any]] = {
        status: _documented(HTTPStatus(status).phrase) for status in statuses
    }
    return {**named, "default": _documented("Any other problem")}


def _documented(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}
