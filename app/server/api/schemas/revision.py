"""Revisions over HTTP: who changed what, when, and why."""

from collections.abc import Iterable
from enum import StrEnum
from itertools import islice
from typing import ClassVar

from pydantic import JsonValue

from app.routing.change import Change, value_document
from app.server.api.schemas.model import Out, Time
from app.server.storage import RevisionRow

MAX_CHANGES = 1000


class Operation(StrEnum):
    """What a change did."""

    CREATE = "create"
    REPLACE = "replace"
    DELETE = "delete"


class RevisionOut(Out):
    """One revision."""

    EXAMPLE: ClassVar[object] = {
        "revision": 42,
        "author": "ansible",
        "message": "INC-123",
        "created_at": "2026-05-01T12:00:00Z",
        "change_count": 1,
    }

    revision: int
    author: str
    message: str
    created_at: Time
    change_count: int


class RevisionPage(Out):
    """Some revisions, newest first."""

    items: list[RevisionOut]
    next_cursor: str | None


class ChangeOut(Out):
    """One subject before and after."""

    EXAMPLE: ClassVar[object] = {
        "op": "create",
        "subject": "rules/shop-out",
        "before": None,
        "after": {"name": "shop-out", "priority": 1000},
    }

    op: Operation
    subject: str
    """The path below /v1/ where clients find it."""
    before: dict[str, JsonValue] | None
    after: dict[str, JsonValue] | None

    @classmethod
    def of(cls, change: Change) -> "ChangeOut":
        """The answer for a change."""
        operation = Operation.REPLACE
        if change.before is None:
            operation = Operation.CREATE
        elif change.after is None:
            operation = Operation.DELETE
        return cls.model_validate(
            {
                "op": operation,
                "subject": str(change.subject),
                "before": value_document(change.subject, change.before),
                "after": value_document(change.subject, change.after),
            }
        )


class RevisionDetail(RevisionOut):
    """One revision with what it changed."""

    EXAMPLE: ClassVar[object] = RevisionOut.EXAMPLE | {"changes": [ChangeOut.EXAMPLE]}  # type: ignore[operator]

    changes: list[ChangeOut]
    """The first 1,000; `change_count` counts them all."""

    @classmethod
    def of(cls, row: RevisionRow, changes: Iterable[Change]) -> "RevisionDetail":
        """The answer for a row and its changes."""
        return cls(
            **RevisionOut.model_validate(row).model_dump(),
            changes=[ChangeOut.of(change) for change in islice(changes, MAX_CHANGES)],
        )


class Restored(Out):
    """What a restore came to."""

    EXAMPLE: ClassVar[object] = {"revision": 43, "change_count": 2, "findings": 0}

    revision: int
    """The head after it."""
    change_count: int
    """0: the routing was that already, and no revision was made."""
    findings: int
