"""What an agent makes of an offer that is not newer than what its MTA has served."""

import pytest

from app.agent.memory import Ended, Seen, is_behind
from app.wire import LineState, Reload, Wanted


def offer(history: str = "h", revision: int = 7, digest: str = "d", push: int = 3) -> Wanted:
    return Wanted(
        push=push, history=history, revision=revision, model_digest=digest, model={}, secrets=[]
    )


@pytest.mark.parametrize(
    ("seen", "wanted", "behind"),
    [
        (None, offer(), False),
        (Seen("h", 7, "d"), offer(revision=8), False),
        (Seen("h", 7, "d"), offer(revision=7), False),
        (Seen("h", 7, "d"), offer(revision=6), True),
        # The number came again, with another model: its history was written twice.
        (Seen("h", 7, "d"), offer(revision=7, digest="e"), True),
        # Revisions of another history say nothing.
        (Seen("h", 7, "d"), offer(history="g", revision=1), False),
        # A push made since is an answer to our saying so; the one that we said it about is not.
        (Seen("h", 7, "d", behind_push=3), offer(revision=6, push=3), True),
        (Seen("h", 7, "d", behind_push=3), offer(revision=6, push=4), False),
    ],
)
def test_a_server_that_offers_less_than_was_served_is_behind(
    seen: Seen | None, wanted: Wanted, *, behind: bool
):
    assert is_behind(seen, wanted) is behind


@pytest.mark.parametrize(
    ("wanted", "answers"),
    [
        (offer(), True),
        (offer(push=4), False),
        (offer(digest="e"), False),
        (offer(history="g"), False),
    ],
)
def test_an_ending_answers_that_very_push_alone(wanted: Wanted, *, answers: bool):
    ended = Ended(3, "h", 7, "d", LineState.REFUSED, Reload.NONE, "no")
    assert ended.answers(wanted) is answers
