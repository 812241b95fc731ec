"""Relay URLs: what one means, and its canonical spelling."""

from typing import Annotated

from fastapi import Query

from app.routing.relay_url import parse_relay_url
from app.server.api import v1
from app.server.api.auth import Reader
from app.server.api.schemas.question import RelayUrlOut
from app.server.api.schemas.texts import RelayUrl

router = v1.router("questions")


@router.get("/relay-url", summary="What does a relay URL mean?")
async def get_relay_url(
    url: Annotated[
        RelayUrl,
        Query(
            description="`[schema://][label@]host[:port]`",
            examples=["tls+auth://acct@mx1.example.net:587"],
        ),
    ],
    _: Reader,
) -> RelayUrlOut:
    """The canonical spelling of a relay URL and what it means; 422 says what is wrong with it."""
    return RelayUrlOut.of(parse_relay_url(url))
