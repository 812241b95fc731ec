"""How relays look from each MTA, over HTTP."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

from app.server.api.schemas.model import Out, State, Time
from app.server.draining import RelayView
from app.wire import Cause, RelayHealth

_SEEN: dict[str, object] = {
    "mta": "mx-out-1",
    "health": "down",
    "since": "2026-05-01T12:00:00Z",
    "cause": "refused",
    "reply": None,
    "sessions": 0,
    "envelopes": 3,
    "quiet_since": None,
    "revision": 42,
    "seen_at": "2026-05-01T12:04:30Z",
    "safe_to_delete": False,
    "detail": "envelopes that wait for it: 3",
}
_RELAY: dict[str, object] = {
    "relay": "mx1",
    "state": "out",
    "safe_to_delete": False,
    "mtas": [_SEEN],
}


class RelaySeenOut(Out):
    """A relay, as one MTA sees it."""

    EXAMPLE: ClassVar[object] = _SEEN

    mta: str
    health: RelayHealth
    """`unknown` as well where its agent is silent, or its MTA does not ask the table program."""
    since: Time | None
    """When that began; null where it is not known."""
    cause: Cause | None
    """Why it is down."""
    reply: int | None
    """The SMTP reply code that said so."""
    sessions: int | None
    """Connections to it that the MTA holds open; null where that is not known."""
    envelopes: int | None
    """Recipients in the MTA's queue that wait for it; null where that is not known."""
    quiet_since: Time | None
    """Since when both were 0; null while they are not."""
    revision: int | None
    """That the MTA served when its agent last looked."""
    seen_at: Time | None
    """When its agent was last heard of."""
    safe_to_delete: bool | None
    """Whether nothing there needs it any more; null where the relay is active."""
    detail: str
    """Why its health is not known, or why it is not safe to delete; else empty."""

    @classmethod
    def of(cls, view: RelayView) -> "RelaySeenOut":
        """The answer for a view."""
        said, row = view.said, view.row
        observed = None if row is None else row.report.observed
        return cls(
            mta=view.mta,
            health=view.health,
            since=None if said is None else _time(said.since),
            cause=None if said is None else said.cause,
            reply=None if said is None else said.reply,
            sessions=None if said is None else said.sessions,
            envelopes=None if said is None else said.envelopes,
            quiet_since=None if said is None else _time(said.quiet_since),
            revision=None if observed is None else observed.revision,
            seen_at=None if row is None else row.seen_at,
            safe_to_delete=view.safe,
            detail=view.detail,
        )


class RelayHealthOut(Out):
    """A relay, as each MTA sees it."""

    EXAMPLE: ClassVar[object] = _RELAY

    relay: str
    state: State
    safe_to_delete: bool
    """True: it is out, and every MTA says that nothing there needs it. Without an MTA: false."""
    mtas: list[RelaySeenOut]

    @classmethod
    def of(cls, relay: str, views: Sequence[RelayView], *, out: bool) -> "RelayHealthOut":
        """The answer for the views of a relay, one an MTA."""
        return cls(
            relay=relay,
            state=State.OUT if out else State.ACTIVE,
            safe_to_delete=bool(views) and all(view.safe for view in views),
            mtas=[RelaySeenOut.of(view) for view in views],
        )


class RelayMapHealth(Out):
    """The relays of a map, as each MTA sees them; it changes by itself and has no ETag."""

    EXAMPLE: ClassVar[object] = {"relay_map": "mxmap", "relays": [_RELAY]}

    relay_map: str
    relays: list[RelayHealthOut]
    """In the order of the map."""


def _time(seconds: int | None) -> datetime | None:
    """A moment of an agent; None where there is none, or none in any calendar of ours."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
