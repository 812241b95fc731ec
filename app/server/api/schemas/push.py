"""Pushes over HTTP: who is to serve what, and how far each has come."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from app.server import lines
from app.server.api.schemas.model import In, Out, Time
from app.server.api.schemas.texts import Name
from app.server.storage import LineRow, PushRow
from app.wire import LineState, Reload


class PushIn(In):
    """What to push, and where to."""

    EXAMPLE: ClassVar[object] = {"mtas": ["mx-out-1"], "revision": 42}

    mtas: Annotated[list[Name], Field(min_length=1, max_length=1000)] | None = None
    """Absent: all of them."""
    revision: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """The head, as the caller knows it; 409 if it is another one. Absent: whatever it is."""


class PushState(StrEnum):
    """`running` while a line waits or is at work, else the worst of the lines."""

    RUNNING = "running"
    APPLIED = "applied"
    REFUSED = "refused"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class PushLine(Out):
    """One MTA's part of a push."""

    mta: str
    state: LineState
    reload: Reload | None
    detail: str
    started_at: Time | None
    finished_at: Time | None

    @classmethod
    def of(cls, line: LineRow) -> "PushLine":
        """The answer for a row."""
        return cls.model_validate(line)


class PushOut(Out):
    """A push."""

    EXAMPLE: ClassVar[object] = {
        "id": 7,
        "revision": 42,
        "author": "admin",
        "state": "applied",
        "created_at": "2026-05-01T12:00:00Z",
        "mtas": [
            {
                "mta": "mx-out-1",
                "state": "applied",
                "reload": "table-update",
                "detail": "",
                "started_at": "2026-05-01T12:00:00Z",
                "finished_at": "2026-05-01T12:00:01Z",
            }
        ],
    }

    id: int
    revision: int
    author: str
    state: PushState
    created_at: Time
    mtas: list[PushLine]

    @classmethod
    def of(cls, row: PushRow) -> "PushOut":
        """The answer for a row."""
        return cls(
            id=row.id,
            revision=row.revision,
            author=row.author,
            state=PushState(lines.push_state(row.lines)),
            created_at=row.created_at,
            mtas=[PushLine.of(line) for line in row.lines],
        )


class PushPage(Out):
    """Some pushes, newest first."""

    items: list[PushOut]
    next_cursor: str | None


def push_text(push: PushRow) -> str:
    """A push for eyes: its state in one line, then a line for each MTA."""
    head = f"push {push.id} revision {push.revision} {lines.push_state(push.lines)}"
    parts = [
        " ".join(
            [line.mta, line.state.value]
            + ([line.reload.value] if line.reload is not None else [])
            + ([line.detail] if line.detail else [])
        )
        for line in push.lines
    ]
    return "".join(f"{part}\n" for part in [head, *parts])
