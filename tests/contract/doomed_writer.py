"""A process that writes until it is killed, and says what was stored: for the kill -9 test.

It waits, warm, for lines on its standard input. For each it forks a child that opens the database
and writes with several tasks at once, acknowledging each edit on standard output. `early` is the
broken variant: it acknowledges before it has stored, which the test must notice.
"""

import asyncio
import os
import sys
from pathlib import Path

from app.routing.writes import Write
from app.server.edit import Editor
from app.server.live import Snapshot
from app.server.storage import NewSecret
from app.server.store.store import DatabaseStore
from tests.contract.samples import put_credential, put_entry, put_map, put_rule, put_table

WRITERS = 4


def say(*words: object) -> None:
    """One line in one write: what a killed process said is there, whole, or it is not."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


async def write(editor: Editor, name: str, *, early: bool) -> None:
    for turn in range(1_000_000):
        edit = f"{os.getpid()}-{name}-{turn}"
        writes: list[Write] = [
            put_map(name, f"smtp://m{turn}.example", description=edit),
            put_rule(name, f"map:{name}", turn % 1000),
            put_table(f"t-{name}"),
            put_entry(f"t-{name}", f"{turn % 7}.example", f"map:{name}"),
        ]
        # The hosts change with every turn, so each edit changes the credential and its secret.
        writes.append(put_credential(name, f"h{turn % 5}.example"))
        secrets = {name: NewSecret("user", edit)}

        def plan(now: Snapshot, edit: str = edit, writes: list[Write] = writes) -> list[Write]:
            if early:
                say("stored", now.revision + 1, edit)
            return writes

        edited = await editor.edit(plan, author=name, message=edit, secrets=secrets)
        if not early:
            say("stored", edited.snapshot.revision, edit)


async def main(url: str, key_file: Path, *, early: bool) -> None:
    store = await DatabaseStore.open(url, key_file)
    editor = await Editor.start(store)
    await asyncio.gather(*(write(editor, f"w{n}", early=early) for n in range(WRITERS)))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            say("begun", os.getpid())
            asyncio.run(main(arguments[0], Path(arguments[1]), early=arguments[2] == "early"))
            os._exit(3)
        os.waitpid(child, 0)
        say("dead")
