"""Why a push is not made, or did not come to `applied`.

NoMta                    there is nothing to push to
NotTheHead               (RevisionMoved) only the head is pushed
PushMissed               somebody waited for it in vain
├── PushRefused
├── PushRolledBack
├── PushFailed
└── PushUnfinished
"""

from app.routing.errors import ControlError, RevisionMoved
from app.server.storage import LineRow, PushRow
from app.wire import LineState

_SHOWN = 20


class NoMta(ControlError):
    """There is nothing to push to."""

    code = "no-mta"

    def __init__(self) -> None:
        super().__init__("there is no MTA to push to; put one to /v1/mtas first")


class NotTheHead(RevisionMoved):
    """Only the head can be pushed; an older revision is restored first."""


class PushMissed(ControlError):
    """A push that somebody waited for did not come to `applied` in time.

    Attributes:
        push: as it stands.
        headers: of the write that was made before it, by name.
    """

    def __init__(self, push: PushRow) -> None:
        behind = [f"{line.mta} {line.state.value}" for line in push.lines if not _is_applied(line)]
        listed = ", ".join(behind[:_SHOWN])
        super().__init__(f"push {push.id} is not applied everywhere: {listed}")
        self.push = push
        self.headers: dict[str, str] = {}


class PushRefused(PushMissed):
    """An MTA, or its agent, does not take what was pushed."""

    code = "push-refused"


class PushRolledBack(PushMissed):
    """An MTA did not serve with what was pushed, and serves what it served before."""

    code = "push-rolled-back"


class PushFailed(PushMissed):
    """An agent could not begin; nothing was changed, and it is tried again."""

    code = "push-failed"


class PushUnfinished(PushMissed):
    """What became of the push is not known yet, or nothing will."""

    code = "push-unfinished"


_MISSED: dict[str, type[PushMissed]] = {
    LineState.REFUSED: PushRefused,
    LineState.ROLLED_BACK: PushRolledBack,
    LineState.FAILED: PushFailed,
}


def _is_applied(line: LineRow) -> bool:
    return line.state is LineState.APPLIED


def missed(push: PushRow, state: str) -> PushMissed:
    """The error for a push that is in a state other than `applied`."""
    return _MISSED.get(state, PushUnfinished)(push)
