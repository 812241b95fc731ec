"""A process that writes to a small file system until it is full, and goes on when there is room.

It prints one JSON object: what it stored before, how it was refused, and what is there at the end.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from app.server.edit import Editor
from app.server.storage import StorageTrouble
from app.server.store.store import DatabaseStore
from tests.contract.samples import put_rule

BALLAST = 256 * 1024


async def fill(editor: Editor) -> tuple[list[str], list[str]]:
    """The rules stored until three edits in a row were refused, and what the refusals were."""
    stored: list[str] = []
    refused: list[str] = []
    while len(refused) < 3:
        name = f"r{len(stored)}-{len(refused)}"
        try:
            await editor.edit(lambda _, n=name: [put_rule(n)], author="test")  # type: ignore[misc]
        except StorageTrouble as trouble:
            refused.append(trouble.code)
        else:
            stored.append(name)
    return stored, refused


async def main(folder: Path) -> None:
    ballast = folder / "ballast"
    ballast.write_bytes(os.urandom(BALLAST))
    store = await DatabaseStore.open(str(folder / "relaymap.db"), folder / "sealing.key")
    editor = await Editor.start(store)
    stored, refused = await fill(editor)
    served = sorted(editor.live.current().table.rules)
    readable = (await store.head()).revision
    ballast.unlink()
    await editor.edit(lambda _: [put_rule("after")], author="test")
    await store.close()
    store = await DatabaseStore.open(str(folder / "relaymap.db"), folder / "sealing.key")
    snapshot, head = await store.load()
    await store.close()
    found = {
        "stored": sorted(stored),
        "refused": refused,
        "served": served,
        "readable": readable,
        "there": sorted(snapshot.table.rules),
        "revision": head.revision,
    }
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
