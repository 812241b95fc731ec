"""Mail that a generation took before it was given up: its actions go on living, as tombstones.

A generation that served for a moment may have accepted mail under actions that the old one lacks.
Going back would strand it; so what the queue names is written into the old one as well.
"""

from app.agent.queue import Scan
from app.render.generation import File, Generation, Tombstone
from app.render.opensmtpd.actions import CREDENTIALS
from app.render.opensmtpd.criteria import table_name
from app.render.opensmtpd.live import PROGRAM, WALK
from app.render.opensmtpd.render import LIST_HEAD, MODE
from app.render.opensmtpd.tombstones import (
    RenderedTombstone,
    actions_of,
    tombstones_for,
    tombstones_to_render,
)
from app.render.plan import CONF


def orphans(old: Generation, new: Generation, scan: Scan, retire_at: int) -> tuple[Tombstone, ...]:
    """The actions of `new` that queued mail may name and `old` does not have."""
    named = {name: act for name, act in actions_of(new).items() if scan.may_name(name)}
    return tombstones_for(named, actions_of(old).keys(), (), retire_at)


def revived(
    old: Generation, new: Generation, stones: tuple[Tombstone, ...], live: str
) -> Generation:
    """The old generation with those actions added, and what they read.

    Args:
        old: what serves again.
        new: what was given up; its credentials come along if the old one has none. Where it has,
            a login that is not in them waits for the next push.
        stones: the actions.
        live: the path of the link that smtpd reads through.
    """
    rendered = tombstones_to_render(stones, actions_of(old).keys())
    added = [_list(stone) for stone in rendered if stone.file]
    asked = [stone.name for stone in rendered if stone.asks]
    credentials = new.file(CREDENTIALS)
    if credentials is not None and old.file(CREDENTIALS) is None:
        added += [credentials] if any(stone.wants_credentials for stone in rendered) else []
    tables = [f'table "{table_name(f.name)}" "file:{live}/{f.name}"' for f in added]
    tables += [f'table "{name}" "{PROGRAM}:{live}/{WALK}"' for name in asked]
    lines = "\n".join([*tables, *(str(stone) for stone in rendered)])
    files = [_with_lines(file, lines) if file.name == CONF else file for file in old.files]
    return Generation(tuple(sorted([*files, *added], key=lambda file: file.name)))


def _list(stone: RenderedTombstone) -> File:
    text = LIST_HEAD + "".join(f"{relay}\n" for relay in stone.relays)
    return File(stone.file, MODE, text.encode("ascii"))


def _with_lines(conf: File, lines: str) -> File:
    return File(conf.name, conf.mode, conf.content + f"\n{lines}\n".encode("ascii"))
