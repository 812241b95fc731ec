"""What the server says about itself."""

from typing import ClassVar, Literal

from app.server.api.schemas.model import Out


class Alive(Out):
    """The process answers."""

    EXAMPLE: ClassVar[object] = {"status": "ok"}

    status: Literal["ok"]


class Ready(Out):
    """The process can serve reads and writes."""

    EXAMPLE: ClassVar[object] = {"status": "ready", "revision": 42}

    status: Literal["ready"]
    revision: int
    """The head."""


class Version(Out):
    """Which program this is."""

    EXAMPLE: ClassVar[object] = {"name": "relaymap", "version": "0.1.0", "api": "v1"}

    name: Literal["relaymap"]
    version: str
    api: Literal["v1"]
