"""The five outcomes of a resolution, in one word, one line and one sentence."""

from enum import StrEnum

from app.routing.route import (
    NeverDelivered,
    Rejected,
    Resolution,
    Route,
    TryAgain,
    Unrouted,
)


class Outcome(StrEnum):
    """What becomes of an envelope."""

    RELAY = "relay"
    REJECT = "reject"
    UNROUTED = "unrouted"
    UNDELIVERABLE = "undeliverable"
    TRY_AGAIN = "try-again"


_OUTCOMES: dict[type[Resolution], Outcome] = {
    Route: Outcome.RELAY,
    Rejected: Outcome.REJECT,
    Unrouted: Outcome.UNROUTED,
    NeverDelivered: Outcome.UNDELIVERABLE,
    TryAgain: Outcome.TRY_AGAIN,
}


def outcome_of(found: Resolution) -> Outcome:
    """The outcome that a resolution is."""
    return outcome_of_kind(type(found))


def outcome_of_kind(kind: type[Resolution]) -> Outcome:
    """The outcome that resolutions of a kind are."""
    return _OUTCOMES[kind]


def because_of(found: Resolution) -> str | None:
    """Why it goes nowhere, in one sentence; None where it goes somewhere."""
    if isinstance(found, Rejected):
        said = f", with the words: {found.message}" if found.message else ""
        return f"the rule {found.rule} rejects it{said}"
    if isinstance(found, Unrouted):
        return "no rule takes it"
    if isinstance(found, NeverDelivered | TryAgain):
        return found.because
    return None


def code_of(found: Resolution) -> str:
    """What a line says after the outcome: where to, or the code of why not."""
    if isinstance(found, Route):
        chosen = found.chosen
        return str(chosen.url) if chosen.url else f"smtp://{chosen.mx.host}:{chosen.mx.port}"
    return found.code if isinstance(found, NeverDelivered | TryAgain) else ""
