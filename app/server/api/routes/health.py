"""Whether the server lives, is ready, and which one it is; nobody needs a token for that."""

from fastapi import Response

from app import __version__
from app.server.api.problems import responses
from app.server.api.schemas.server import Alive, Ready, Version
from app.server.api.services import Control
from app.server.api.v1 import open_router

router = open_router("server")


@router.get("/livez", summary="Is the process alive?")
async def get_liveness(response: Response) -> Alive:
    """Answers as long as the process does; it asks neither the database nor anybody else."""
    response.headers["Cache-Control"] = "no-store"
    return Alive(status="ok")


@router.get("/readyz", summary="Can it serve?", responses=responses(503))
async def get_readiness(response: Response, services: Control) -> Ready:
    """Looks at the database; 503 while that cannot be reached. Questions are answered even then."""
    response.headers["Cache-Control"] = "no-store"
    head = await services.store.head()
    return Ready(status="ready", revision=head.revision)


@router.get("/version", summary="Which version is it?")
async def get_version() -> Version:
    """The name and version of the program, and of its API."""
    return Version(name="relaymap", version=__version__, api="v1")
