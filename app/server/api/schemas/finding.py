"""Findings over HTTP."""

from typing import ClassVar

from app.routing.check import Severity
from app.server.api.schemas.model import Out


class FindingOut(Out):
    """One thing that looks wrong, or as if it were not meant."""

    EXAMPLE: ClassVar[object] = {
        "code": "unused-map",
        "severity": "warning",
        "subject": "relay-maps/mxmap",
        "pointer": "",
        "detail": "nothing uses it",
        "mta": None,
    }

    code: str
    """Stable, for programs."""
    severity: Severity
    subject: str
    """The path below /v1/ of what it is about."""
    pointer: str
    """RFC 6901, into the subject."""
    detail: str
    mta: str | None
    """The MTA that it concerns; null: the routing as such."""


class FindingPage(Out):
    """Some findings."""

    items: list[FindingOut]
    next_cursor: str | None


class FindingList(Out):
    """What a dry run of a delete would leave behind."""

    findings: list[FindingOut]
