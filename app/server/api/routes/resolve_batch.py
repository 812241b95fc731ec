"""Resolution of many envelopes: as one JSON body, or line by line as they come."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Annotated, Any

from fastapi import Query, Request, Response
from starlette.types import Receive, Scope, Send

from app.routing.errors import ControlError
from app.routing.routing_table import RoutingTable
from app.server.api import v1
from app.server.api.auth import Asker, known_token
from app.server.api.auth import Scope as TokenScope
from app.server.api.gate import is_json
from app.server.api.line_stream import MAX_LINE, Idle, Line, Lines
from app.server.api.many import Asked, Inquiry, refused
from app.server.api.problems import Problem, problem_of
from app.server.api.refusals import EdgeError
from app.server.api.schemas.many import Fields, GivenQuestions, ResultsOut
from app.server.api.services import Control, Services
from app.server.api.strict_json import parse_json
from app.server.api.writing import checked

router = v1.router("questions")

NDJSON = "application/x-ndjson"
_AT_ONCE = 256
"""Lines of a stream that are answered together: of one revision, and sent as one."""

_LINES = (
    '{"recipient":"joe@example.net","sender":"ann@shop.example"}\n'
    '{"recipient":"someone@example.org"}\n'
)
_ANSWERS = (
    '{"line":1,"revision":41,"outcome":"relay","rule":"shop-out","url":"smtps://mx2.example.net"}\n'
    '{"line":2,"revision":41,"outcome":"unrouted","rule":null,"url":null}\n'
)
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/QuestionsIn"}},
        NDJSON: {"schema": {"type": "string"}, "example": _LINES},
    },
}
_DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {"content": {NDJSON: {"schema": {"type": "string"}, "example": _ANSWERS}}},
}


@router.post(
    "/resolve/batch",
    summary="Where would these envelopes go?",
    response_model=ResultsOut,
    responses=_DOCUMENTED,
    openapi_extra={"requestBody": _BODY},
)
async def resolve_envelopes(
    request: Request,
    _: Asker,
    services: Control,
    fields: Annotated[
        Fields, Query(description="`brief`: outcome, rule and url alone of each answer.")
    ] = Fields.FULL,
) -> Response:
    """Up to 1,000 envelopes as JSON, all asked of one revision; or NDJSON of any length.

    Each envelope is what `POST /v1/resolve` takes, and has its own answer or its own problem.

    As NDJSON (`application/x-ndjson`), one envelope a line of at most 64 KiB, answers come while
    lines are still being sent: read them meanwhile, or neither side goes on. Each answer is a line,
    in the order of the envelopes, with the number of the `line` it answers, blank ones counted, and
    the `revision` it is of; a line that is none has a `problem`, and the others go on.
    """
    content_type = request.headers.get("content-type", "")
    if content_type and not is_json(content_type):
        return Stream(services, fields)
    body = await request.body()
    given = checked(GivenQuestions, parse_json(body) if body else None)
    table = services.live.current().table
    inquiry = Inquiry(services, table, fields)
    answers = await inquiry.answers([Asked(each) for each in given.envelopes])
    said = f'{{"revision":{table.revision},"results":[{",".join(answers)}]}}\n'
    return Response(said, media_type="application/json")


Shortcut = Callable[[RoutingTable, Line, Fields], str | None]
"""What answers a line without further ado; None where it takes more than that."""


class Stream(Response):
    """Answers line by line; a slow reader slows the reading, and who is gone ends it."""

    media_type = NDJSON

    def __init__(
        self, services: Services, fields: Fields, shortcut: Shortcut | None = None
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._services = services
        self._fields = fields
        self._shortcut = shortcut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer until there are no more lines."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        lines = Lines(receive)
        try:
            while not lines.ended:
                came = await lines.more()
                # The token may have been ended since: a stream may last for days.
                (await known_token(Request(scope), self._services, None)).require(
                    TokenScope.RESOLVE
                )
                while part := tuple(islice(came, _AT_ONCE)):
                    await send(_sent(await self._answers(part)))
                    await asyncio.sleep(0)
        except Idle:
            late = Problem(400, "bad-request", "the next line did not come in time")
            await send(_sent([_numbered(lines.number + 1, None, refused(late))]))
        except EdgeError as error:
            await send(_sent([_numbered(lines.number + 1, None, refused(problem_of(error)))]))
        if not lines.gone:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answers(self, lines: Sequence[Line]) -> Sequence[str]:
        table = self._services.live.current().table
        found: dict[int, str] = {}
        if self._shortcut is not None:
            for line in lines:
                answer = self._shortcut(table, line, self._fields)
                if answer is not None:
                    found[line.number] = answer
        others = [line for line in lines if line.number not in found]
        if others:
            inquiry = Inquiry(self._services, table, self._fields)
            answers = await inquiry.answers([_read(line) for line in others])
            found |= {line.number: text for line, text in zip(others, answers, strict=True)}
        revision = table.revision if self._fields is Fields.BRIEF else None
        return [_numbered(line.number, revision, found[line.number]) for line in lines]


def _sent(answers: Sequence[str]) -> dict[str, object]:
    body = "".join(answers).encode()
    return {"type": "http.response.body", "body": body, "more_body": True}


def _numbered(number: int, revision: int | None, answer: str) -> str:
    """The line of an answer; a brief one says its revision here, a whole one has it in itself."""
    of = "" if revision is None else f'"revision":{revision},'
    return f'{{"line":{number},{of}{answer[1:]}\n'


def _read(line: Line) -> Asked:
    if line.text is None:
        return Asked(Problem(413, "body-too-large", f"the line holds more than {MAX_LINE} octets"))
    try:
        return Asked(parse_json(line.text))
    except ControlError as error:
        return Asked(problem_of(error))
