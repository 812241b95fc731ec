"""The health of a map's relays as each MTA sees them, and whether one that is out can go."""

import asyncio
from typing import Annotated

from fastapi import Query, Response

from app.routing.errors import Unknown
from app.routing.routing_table import RoutingTable, StateKey
from app.server.api import v1
from app.server.api.auth import Reader
from app.server.api.problems import responses
from app.server.api.routes.relay_maps import MapName
from app.server.api.schemas.relay_health import RelayHealthOut, RelayMapHealth
from app.server.api.schemas.texts import Label
from app.server.api.services import Control, Current
from app.server.draining import RelayView

router = v1.router("relay maps")


@router.get(
    "/relay-maps/{map}/health",
    summary="How do MTAs see these relays?",
    response_model=RelayMapHealth,
    responses=responses(404),
)
async def get_relay_map_health(
    name: MapName,
    _: Reader,
    services: Control,
    snapshot: Current,
    relay: Annotated[Label | None, Query(description="Only this relay.")] = None,
) -> Response:
    """Each relay of a map as each MTA sees it, since when and why, by its agent's last report.

    A relay that is out is `safe_to_delete` once every MTA has served it as out for a minute, and
    has had no session with it and no mail for it for a minute. An MTA that was never heard of, has
    fallen silent or does not ask the table program is never a yes; its `detail` says so.
    """
    table = snapshot.table
    if name not in table.maps:
        raise Unknown("relay map")
    keys = [(name, each.name) for each in table.maps[name].relays if relay in {None, each.name}]
    views = await services.draining.views(snapshot, keys)
    # In a thread: a thousand MTAs may each have something to say about a thousand relays.
    body = await asyncio.to_thread(_written, name, table, views)
    return Response(body, media_type="application/json")


def _written(name: str, table: RoutingTable, views: dict[StateKey, list[RelayView]]) -> str:
    relays = [
        RelayHealthOut.of(key[1], seen, out=table.is_out(*key)) for key, seen in views.items()
    ]
    return RelayMapHealth(relay_map=name, relays=relays).model_dump_json() + "\n"
