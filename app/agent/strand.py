"""Why a push is refused: mail that is queued would be left without what delivers it."""

from collections.abc import Mapping

from app.render.opensmtpd.tombstones import RenderedAction
from app.routing.errors import ControlError

_ASKS = " domain <rm-"


class WouldStrand(ControlError):
    """Queued mail would be left without the action that it names."""

    code = "would-strand"

    def __init__(self, actions: frozenset[str], *, queued: bool) -> None:
        named = ", ".join(sorted(actions)[:10])
        if queued:
            what = "queued mail names actions that smtpd would come back without"
            way = "take those messages out of the queue (smtpctl remove)"
        else:
            what = "smtpd runs with actions that it would come back without, and mail may name them"
            way = "let the queue drain and restart smtpd by hand"
        super().__init__(f"{what}: {named}; declare them again in its configuration, or {way}")


class WouldNotBeAsked(WouldStrand):
    """Queued mail names actions whose relay only the table program can say."""

    def __init__(self, actions: frozenset[str]) -> None:
        named = ", ".join(sorted(actions)[:10])
        ControlError.__init__(
            self,
            "queued mail names actions that ask the table program, which is not installed:"
            f" {named}; install it again until the queue has drained, or take those messages out of"
            " the queue (smtpctl remove)",
        )


def asking(actions: Mapping[str, RenderedAction]) -> frozenset[str]:
    """The actions whose relay is asked of the table program."""
    return frozenset(name for name, action in actions.items() if _ASKS in action.text)
