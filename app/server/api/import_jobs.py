"""Imports: so many at once, and what becomes of those that nobody waits for.

The latter are told of for a while. They are kept in memory, as many as `KEPT`, and end with the
server: what it had not stored by then is not stored. The journal has what was.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex

from pydantic import JsonValue

from app.observe import event
from app.routing.errors import ControlError, Unknown
from app.server.api.meanings import MEANINGS
from app.server.api.problems import Problem, problem_of
from app.server.api.refusals import ImportsBusy
from app.server.api.schemas.table_import import ImportReport, ImportState

AT_ONCE = 4
"""Each has its entries in memory until they are stored, and stored they are one after the other."""
KEPT = 100
"""Of those that have ended, the oldest go first."""


@dataclass(slots=True)
class Job:
    """One import.

    Attributes:
        lines: that were read.
        problem: see `ImportOut`.
    """

    id: str
    table: str
    lines: int
    started_at: datetime
    state: ImportState = ImportState.RUNNING
    report: ImportReport | None = None
    problem: dict[str, JsonValue] | None = None
    finished_at: datetime | None = None


class ImportJobs:
    """The imports that go on, and those that have ended of late."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._going_on = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Have a place among the imports that go on. Raises ImportsBusy."""
        if self._going_on == AT_ONCE:
            raise ImportsBusy(AT_ONCE)
        self._going_on += 1
        try:
            yield
        finally:
            self._going_on -= 1

    def get(self, name: str) -> Job:
        """The import of that id. Raises Unknown."""
        job = self._jobs.get(name)
        if job is None:
            raise Unknown("import")
        return job

    def put(self, job: Job) -> None:
        """Keep an import; of those that have ended, the oldest is forgotten."""
        self._jobs[job.id] = job
        ended = [job for job in self._jobs.values() if job.state is not ImportState.RUNNING]
        for old in ended[: max(0, len(self._jobs) - KEPT)]:
            del self._jobs[old.id]

    def begin(
        self,
        table: str,
        lines: int,
        work: Callable[[Job], Awaitable[None]],
        now: Callable[[], datetime],
    ) -> Job:
        """Let work go on by itself; it sets the report of its job."""
        job = Job(token_hex(8), table, lines, now())
        self.put(job)
        task = asyncio.ensure_future(_worked(job, work, now))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job


async def _worked(
    job: Job, work: Callable[[Job], Awaitable[None]], now: Callable[[], datetime]
) -> None:
    problem: Problem | None = None
    state = ImportState.DONE
    try:
        await work(job)
    except ControlError as error:
        problem = problem_of(error)
        state = ImportState.REFUSED if problem.status < 500 else ImportState.FAILED
    except Exception as error:  # noqa: BLE001  nobody waits for it who could be told otherwise
        event("unforeseen-error", logging.ERROR, error=type(error).__qualname__)
        problem = Problem(500, "internal", MEANINGS["internal"].text)
        state = ImportState.FAILED
    job.problem = None if problem is None else problem.document()
    # What is stored is done, though the push after it may have come to nothing.
    job.state = state if job.report is None else ImportState.DONE
    job.finished_at = now()
