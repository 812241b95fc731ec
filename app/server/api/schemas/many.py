"""Many questions at once, and what each of them is answered."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, JsonValue
from typing_extensions import TypeAliasType

from app.server.api.outcome import Outcome
from app.server.api.schemas.model import In, Out
from app.server.api.schemas.question import Question, ResolutionOut

MAX_QUESTIONS = 1000


class Fields(StrEnum):
    """How much of each answer."""

    FULL = "full"
    BRIEF = "brief"


class QuestionsIn(In):
    """Envelopes that are asked about together, of one revision."""

    EXAMPLE: ClassVar[object] = {
        "envelopes": [
            {"recipient": "joe@example.net", "sender": "ann@shop.example"},
            {"recipient": "not an address"},
        ],
    }

    envelopes: Annotated[list[Question], Field(min_length=1, max_length=MAX_QUESTIONS)]


class GivenQuestions(In):
    """The same with whatever stands for an envelope: each is answered or refused by itself."""

    envelopes: Annotated[list[JsonValue], Field(min_length=1, max_length=MAX_QUESTIONS)]


class BriefOut(Out):
    """Where an envelope goes, in short."""

    outcome: Outcome
    rule: str | None
    url: str | None


class FailedOut(Out):
    """Why one question has no answer; the others have theirs."""

    problem: dict[str, JsonValue]
    """As the question alone would be answered; pointers are into its envelope."""


Result = TypeAliasType("Result", ResolutionOut | BriefOut | FailedOut)
"""What one question is answered: in full, in brief, or with a problem."""


class ResultsOut(Out):
    """What many questions are answered."""

    revision: int
    """That all answers are of, but for those with `mta`, which name their own."""
    results: list[Result]
    """One for each envelope, in their order."""
