"""The same questions answered as a tutorial would: models in and out, one dependency for the token."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request  # noqa: TID251  as a tutorial has it
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.routing.resolve import resolve
from app.routing.route import MxNeeded
from app.server.api.asking import Draws, envelope_of
from app.server.api.schemas.question import Question, ResolutionOut
from app.server.api.services import Services
from app.server.main import open_services
from app.settings import ServerSettings


@asynccontextmanager
async def _open(app: FastAPI) -> AsyncIterator[None]:
    settings = ServerSettings(state_dir=Path(os.environ["RELAYMAP_STATE_DIR"]))
    async with open_services(settings) as services:
        app.state.services = services
        yield


app = FastAPI(lifespan=_open)
_bearer = HTTPBearer()
Bearer = Annotated[HTTPAuthorizationCredentials, Depends(_bearer)]


async def _asker(request: Request, credentials: Bearer) -> Services:
    services: Services = request.app.state.services
    row = await services.tokens.find(credentials.credentials)
    if row is None or "resolve" not in row.scopes:
        raise HTTPException(401)
    return services


@app.get("/readyz")
async def ready() -> dict[str, str]:
    """Say that it is here."""
    return {}


@app.post("/v1/resolve")
async def ask(question: Question, services: Annotated[Services, Depends(_asker)]) -> ResolutionOut:
    """Where an envelope goes."""
    table = services.live.current().table
    draws = Draws(services.live, question.draw)
    found = resolve(table, envelope_of(question, frozenset()), frozenset(), draws.of)
    if isinstance(found, MxNeeded):
        raise HTTPException(503)
    return ResolutionOut.of(found, table.revision, explain=False)
