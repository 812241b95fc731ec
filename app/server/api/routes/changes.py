"""Changes: many writes of routing, checked together, done all or not at all."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from app.routing.errors import Invalid, Unknown
from app.routing.writes import Write
from app.server.api import v1
from app.server.api.auth import Scope, Writer
from app.server.api.batch import Batch, Ready, needs_operate, ready_writes
from app.server.api.problems import responses
from app.server.api.schemas.changes import ChangesIn, ChangesOut
from app.server.api.schemas.finding import FindingOut
from app.server.api.schemas.revision import ChangeOut
from app.server.api.writing import Writing, Written
from app.server.edit import Edited
from app.server.live import Snapshot

router = v1.router("changes")


@router.post("/changes", summary="Make many changes as one", responses=responses(404, 409, 412))
async def make_changes(body: ChangesIn, principal: Writer, write: Written) -> ChangesOut:
    """Up to 1,000 writes to maps, relays, states, tables, entries and rules: one revision.

    Each sees the ones before it; what refers to what is checked at the end. `If-Match: "<head>"`
    guards the whole. Writes to states need the scope `operate` too.
    """
    ready = await asyncio.to_thread(ready_writes, body.changes)
    if needs_operate(ready):
        principal.require(Scope.OPERATE)

    edited = await _edit(replace(write, message=body.message or write.message), ready)
    await write.push_if_asked()
    return ChangesOut(
        revision=edited.snapshot.revision,
        changes=[ChangeOut.of(change) for change in edited.changes],
        findings=[FindingOut.model_validate(found) for found in edited.findings],
    )


async def _edit(write: Writing, ready: Sequence[Ready]) -> Edited:
    """Do the writes of a body. Raises Invalid and Unknown with pointers into that body."""
    batch: Batch | None = None

    def plan(snapshot: Snapshot) -> Sequence[Write]:
        nonlocal batch
        batch = None  # what is raised while it is made has its pointers already
        write.conditions.check_head(snapshot)
        batch = Batch(snapshot.table, ready)
        return batch.writes

    try:
        return await write.edit(plan)
    except Invalid as invalid:
        if batch is None:
            raise
        raise Invalid(tuple(batch.placed(fault) for fault in invalid.faults)) from None
    except Unknown as unknown:
        raise unknown if batch is None else batch.absent(unknown) from None
