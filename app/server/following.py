"""What another process wrote: taken over by the journal where it is little, else read anew."""

import asyncio
from collections.abc import Sequence

from app.routing.change import Change, apply
from app.routing.errors import RevisionPruned, Unknown
from app.server.live import Snapshot
from app.server.storage import Head, RevisionRow, Store

_MOST_REVISIONS = 50
_MOST_CHANGES = 10_000
"""With more than these it is about as quick to read everything."""


async def newest(store: Store, current: Snapshot) -> tuple[Snapshot, Head]:
    """The routing as it is stored, and its head.

    It costs as much as changed since `current`, which it is told by the journal; where that is of
    another history, or does not reach back so far, everything is read.
    """
    head = await store.head()
    found = await _followed(store, current, head)
    if found is None:
        found, head = await store.load()
    await asyncio.to_thread(found.table.prepare)
    return found, head


async def _followed(store: Store, current: Snapshot, head: Head) -> Snapshot | None:
    behind = head.revision - current.revision
    if head.history != current.history or not 0 <= behind <= _MOST_REVISIONS:
        return None
    try:
        rows = await store.revisions(behind, head.revision + 1) if behind else ()
        if len(rows) != behind or sum(row.change_count for row in rows) > _MOST_CHANGES:
            return None
        for row in reversed(rows):
            changes = await store.changes(row.revision)
            current = await asyncio.to_thread(_after, current, changes, row)
    except (RevisionPruned, Unknown):
        return None
    return current


def _after(before: Snapshot, changes: Sequence[Change], row: RevisionRow) -> Snapshot:
    table = apply(before.table, changes, row.revision)
    marks = before.marks.after(changes, row.revision, row.created_at)
    return Snapshot(before.history, table, marks)
