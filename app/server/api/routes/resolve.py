"""Resolution: where an envelope would go, over which transport, and why."""

from typing import Annotated, Any

from fastapi import Depends, Query, Response
from starlette.responses import PlainTextResponse

from app.server.api import v1
from app.server.api.accept import WantsText
from app.server.api.asking import ask, routing_for
from app.server.api.auth import Asker
from app.server.api.parameters import QueryFlag, QueryInt
from app.server.api.problems import responses
from app.server.api.schemas.question import (
    MAX_DRAW,
    AuthUser,
    Client,
    Helo,
    MailAddress,
    Question,
    ResolutionOut,
    Tag,
)
from app.server.api.schemas.texts import Name
from app.server.api.services import Control

router = v1.router("questions")

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
    **responses(404, 409, 410),
}


async def _question(  # noqa: PLR0913  one argument a parameter
    *,
    recipient: Annotated[MailAddress, Query(description="RCPT TO.", examples=["joe@example.net"])],
    sender: Annotated[MailAddress, Query(description="MAIL FROM; empty: the null sender.")] = "",
    client: Annotated[Client, Query(description="`local`, or an address.")] = "local",
    auth_user: Annotated[AuthUser | None, Query(description="Given to SMTP AUTH.")] = None,
    helo: Annotated[Helo | None, Query(description="Given to HELO or EHLO.")] = None,
    tag: Annotated[Tag | None, Query(description="Of the listener.")] = None,
    mta: Annotated[Name | None, Query(description="On this MTA, as it is there now.")] = None,
    explain: Annotated[QueryFlag, Query(description="Say which rules were tried.")] = False,
    draw: Annotated[
        QueryInt | None, Query(ge=0, le=MAX_DRAW, description="Fixes turn and chance.")
    ] = None,
) -> Question:
    return Question.model_construct(
        recipient=recipient,
        sender=sender,
        client=client,
        auth_user=auth_user,
        helo=helo,
        tag=tag,
        mta=mta,
        explain=explain,
        draw=draw,
    )


async def _answer(services: Control, question: Question, as_text: bool) -> Response:  # noqa: FBT001
    table = await routing_for(services, question.mta)
    found = await ask(services, table, question)
    vary = {"Vary": "Accept"}
    if as_text:
        return PlainTextResponse(ResolutionOut.line(found) + "\n", headers=vary)
    answer = ResolutionOut.of(found, table.revision, explain=question.explain)
    return Response(answer.model_dump_json() + "\n", media_type="application/json", headers=vary)


@router.get(
    "/resolve",
    summary="Where would this envelope go?",
    response_model=ResolutionOut,
    responses=_ANSWERS,
)
async def get_resolution(
    question: Annotated[Question, Depends(_question)],
    _: Asker,
    services: Control,
    as_text: WantsText,
) -> Response:
    """Where the mail of one envelope goes now, and why; nothing is stored.

    Repeated questions see what repeated messages would. `Accept: text/plain` gives one line.

    With `mta` it is asked on that MTA: on the revision that its agent last saw in force there,
    which `revision` of the answer names, with the MTA's own addresses, and without the relays that
    are down there. Where none is in force yet, the answer is 409 `nothing-confirmed`.
    """
    return await _answer(services, question, as_text)


@router.post(
    "/resolve",
    summary="Where would this envelope go? (as JSON)",
    response_model=ResolutionOut,
    responses=_ANSWERS,
)
async def resolve_envelope(
    question: Question, _: Asker, services: Control, as_text: WantsText
) -> Response:
    """The same question as GET, in a body."""
    return await _answer(services, question, as_text)
