"""What the agent beside an MTA asks and says; its token is good for that MTA alone."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Query, Request, Response
from starlette.responses import StreamingResponse

from app.server.api import v1
from app.server.api.auth import AgentOf, known_token
from app.server.api.parameters import QueryInt
from app.server.api.problems import responses
from app.server.api.services import Control
from app.server.pins import Offer
from app.server.pushes import MAX_WAIT_S
from app.wire import HAVE, Have, Report, Wanted

router = v1.router("agents")

Known = Annotated[
    QueryInt, Query(ge=0, le=2**53, description="The newest push that the agent remembers.")
]
WaitSeconds = Annotated[
    QueryInt, Query(ge=0, le=int(MAX_WAIT_S), description="How long to wait for a newer one.")
]
HaveModel = Annotated[
    str | None,
    Query(
        pattern=HAVE,
        description="A model that the agent has, as `history:revision:digest`: what has to be done "
        "to it may be answered instead of the whole.",
    ),
]


@router.get(
    "/agent/wanted",
    summary="What is my MTA to serve?",
    response_model=Wanted,
    responses={204: {"description": "Nothing newer came in that time."}, **responses(404)},
)
async def get_wanted(
    *,
    request: Request,
    mta: AgentOf,
    services: Control,
    known: Known = 0,
    wait: WaitSeconds = 0,
    have: HaveModel = None,
) -> Response:
    """The newest push for the caller's MTA, with the whole model, once there is one to apply.

    To an agent that says which model it has, and to whose model little has to be done, that is
    what is answered: `base` and `changes`, and an empty `model`.

    Secrets come along for the labels that the model's rules use, and for no other.

    Scope: none; the token of the MTA's agent
    """
    held = None if have is None else Have.parse(have)
    wanted = await services.pushes.wanted(mta, known, float(wait), held)
    # The token may have been ended while its holder waited, and there are passwords in the answer.
    await known_token(request, services, None)
    if wanted is None:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store"}
    return StreamingResponse(_as_it_is(wanted), headers=headers, media_type="application/json")


async def _as_it_is(offer: Offer) -> AsyncIterator[bytes]:
    for part in offer.json():
        yield part


@router.post(
    "/agent/reports",
    summary="Say what my MTA serves",
    status_code=204,
    responses=responses(404, 409),
)
async def report_state(mta: AgentOf, services: Control, report: Report) -> None:
    """What the agent sees: how its MTA stands, and how an apply goes on or ended.

    Scope: none; the token of the MTA's agent
    """
    await services.pushes.report(mta, report)
