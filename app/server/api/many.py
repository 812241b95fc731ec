"""Many questions asked together: each answered or refused by itself, in slices of milliseconds."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from fastapi.exceptions import RequestValidationError
from pydantic import JsonValue, ValidationError

from app.routing.errors import ControlError
from app.routing.route import Resolution, Route
from app.routing.routing_table import RoutingTable
from app.server.api.asking import Pending, begin, routing_for, settle
from app.server.api.gate import log_unforeseen
from app.server.api.meanings import MEANINGS
from app.server.api.outcome import outcome_of
from app.server.api.problems import Problem, problem_of, problem_of_validation
from app.server.api.schemas.many import BriefOut, Fields
from app.server.api.schemas.question import Question, ResolutionOut
from app.server.api.services import Services

SLICE_S = 0.002
"""How long others wait, at most, while questions are asked; one question more or less."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was read, or why it is none."""

    given: JsonValue | Problem


class Inquiry:
    """Questions that are asked of one state of routing, or each of what its MTA serves."""

    def __init__(self, services: Services, table: RoutingTable, fields: Fields) -> None:
        self._services = services
        self._table = table
        self._fields = fields
        self._of_mtas: dict[str, RoutingTable | ControlError] = {}

    async def answers(self, asked: Sequence[Asked]) -> Sequence[str]:
        """What each is answered, as JSON, in their order."""
        found: list[str | asyncio.Task[str]] = []
        async with asyncio.TaskGroup() as group:
            until = perf_counter() + SLICE_S
            for each in asked:
                begun = await self._begin(each)
                found.append(begun if isinstance(begun, str) else group.create_task(begun.end()))
                if perf_counter() > until:
                    await asyncio.sleep(0)
                    until = perf_counter() + SLICE_S
        return [each if isinstance(each, str) else each.result() for each in found]

    async def _begin(self, asked: Asked) -> "str | _Unsettled":
        if isinstance(asked.given, Problem):
            return refused(asked.given)
        try:
            question = _read(asked.given)
            table = await self._routing_for(question.mta)
            begun = begin(self._services, table, question)
        except RequestValidationError as error:
            return refused(problem_of_validation(error))
        except ControlError as error:
            return refused(problem_of(error))
        except Exception as error:  # noqa: BLE001  one question takes no other with it
            return _unforeseen(error)
        unsettled = _Unsettled(self._services, question, table.revision, self._fields)
        return unsettled.waiting(begun) if isinstance(begun, Pending) else unsettled.said(begun)

    async def _routing_for(self, mta: str | None) -> RoutingTable:
        if mta is None:
            return self._table
        if mta not in self._of_mtas:
            try:
                self._of_mtas[mta] = await routing_for(self._services, mta)
            except ControlError as error:
                self._of_mtas[mta] = error
        found = self._of_mtas[mta]
        if isinstance(found, ControlError):
            raise found
        return found


class _Unsettled:
    """A question that the DNS may have to be asked for."""

    def __init__(
        self, services: Services, question: Question, revision: int, fields: Fields
    ) -> None:
        self._services = services
        self._question = question
        self._revision = revision
        self._fields = fields
        self._pending: Pending | None = None

    def waiting(self, pending: Pending) -> "_Unsettled":
        """The same, once it is known what it hangs on."""
        self._pending = pending
        return self

    async def end(self) -> str:
        """Its answer; few at a time ask the DNS, so that others' questions find room there."""
        if self._pending is None:
            raise TypeError
        try:
            async with self._services.mx_room:
                return self.said(await settle(self._services, self._pending))
        except Exception as error:  # noqa: BLE001  as above
            return _unforeseen(error)

    def said(self, found: Resolution) -> str:
        """What a resolution is as JSON."""
        if self._fields is Fields.BRIEF:
            return brief(found)
        explain = self._question.explain
        return ResolutionOut.of(found, self._revision, explain=explain).model_dump_json()


def brief(found: Resolution) -> str:
    """A resolution as JSON, in short."""
    url = found.chosen.url if isinstance(found, Route) else None
    return BriefOut(
        outcome=outcome_of(found),
        rule=getattr(found, "rule", None),
        url=None if url is None else str(url),
    ).model_dump_json()


def refused(problem: Problem) -> str:
    """A problem in place of an answer, as JSON."""
    document = {"problem": problem.document()}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _unforeseen(error: Exception) -> str:
    log_unforeseen(error)
    return refused(Problem(500, "internal", MEANINGS["internal"].text))


def _read(given: object) -> Question:
    """The question that JSON spells. Raises RequestValidationError, as a body alone would."""
    try:
        return Question.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False)
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in found]
        raise RequestValidationError(faults, body=given) from None
