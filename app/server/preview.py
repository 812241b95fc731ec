"""What the files of an MTA would be, without an MTA: rendered here, with every secret masked."""

import difflib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from app.render.generation import Generation, Secret, Target, Tombstone
from app.render.opensmtpd import spelling
from app.render.opensmtpd.live import render_live
from app.render.opensmtpd.render import render
from app.render.opensmtpd.rows import CAPABILITIES, Ability, Capability, Version
from app.render.opensmtpd.spelling import Unwritable
from app.render.opensmtpd.tombstones import actions_of, tombstones_for, tombstones_to_render
from app.render.plan import plan
from app.routing.decision import assign, needed
from app.routing.model import model_digest
from app.routing.routing_table import RoutingTable
from app.routing.rule import RelayAction
from app.server.fleet import addresses_of, version_of
from app.wire import Reload, Report

MASK = "*" * 8
DEFAULT_STATE_DIR = "/var/lib/relaymap-agent"
_NEVER = 0
"""When a tombstone goes is the agent's to say; it is in no file."""


@dataclass(frozen=True, slots=True)
class PreviewedFile:
    """One file, masked, and how it differs from the one that is live.

    Attributes:
        diff: None where it was not asked for, or what is live is not known.
    """

    name: str
    mode: int
    content: str
    diff: str | None = None


@dataclass(frozen=True, slots=True)
class Previewed:
    """The files that a push would make, and what the MTA would have to do.

    Attributes:
        reload: None where what is live is not known.
    """

    version: Version
    reload: str | None
    files: tuple[PreviewedFile, ...]


def capability_rows(ability: Ability | None) -> tuple[Capability, ...]:
    """What an MTA of a kind can do; every row where the kind is not known."""
    return tuple(
        row
        for row in CAPABILITIES
        if ability is None or row.covers(ability.version, live=ability.live)
    )


def target_of(report: Report | None, table: RoutingTable, version: Version | None) -> Target | None:
    """The MTA to render for, as its agent reported it; None where no version is known.

    Args:
        report: the last one; without it names of certificates, CAs and sources are taken on trust.
        table: the routing.
        version: instead of the one reported.
    """
    wanted = version or version_of(None if report is None else report.version)
    if wanted is None:
        return None
    if report is None:
        actions = [rule.action for rule in table.ordered if isinstance(rule.action, RelayAction)]
        return Target(
            wanted,
            DEFAULT_STATE_DIR,
            tuple(dict.fromkeys(source for action in actions for source in action.sources)),
            _named(action.certificate for action in actions),
            _named(action.ca for action in actions),
        )
    return Target(
        wanted,
        _state_dir(report),
        addresses_of(report),
        tuple(report.certificates),
        tuple(report.cas),
        tuple(_tombstones(report)),
    )


def _state_dir(report: Report) -> str:
    """Where the agent keeps its files, if that can be written at all."""
    try:
        return spelling.state_dir(report.state_dir)
    except Unwritable:
        return DEFAULT_STATE_DIR


def _tombstones(report: Report) -> Iterator[Tombstone]:
    """Those that can be rendered; a mistake of an agent must not hide the rest."""
    for each in report.tombstones:
        stone = Tombstone(each.action, each.text, tuple(each.relays), each.retire_at)
        try:
            tombstones_to_render([stone], ())
        except Unwritable:
            continue
        yield stone


def _named(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name is not None))


def preview_live(
    target: Target, table: RoutingTable, live: RoutingTable | None, has: Collection[str]
) -> Previewed:
    """The fixed files of an MTA that asks the table program, beside those that it has.

    Args:
        target: the MTA.
        table: the routing.
        live: the one that it serves; None where that is not known.
        has: its actions, as its agent reported them.

    Raises:
        NotExpressible: the MTA cannot do it; with every reason.
    """
    slots = assign({}, table)
    new = render_live(table, slots, target).files
    old = None if live is None else render_live(live, assign({}, live), target).files
    enough = needed(table, slots).keys() <= set(has)
    if not has:
        reload = None
    elif not enough:
        reload = Reload.RESTART.value
    else:
        same = live is not None and model_digest(live) == model_digest(table)
        reload = Reload.NONE.value if same else Reload.LIVE.value
    files = _files(old if enough and old is not None else new, old)
    return Previewed(target.version, reload, tuple(files))


def preview(target: Target, table: RoutingTable, live: RoutingTable | None) -> Previewed:
    """The files of a routing beside those of the routing that is live, if that is known.

    Raises:
        NotExpressible: the MTA cannot do it; with every reason.
    """
    old = None if live is None else render(live, _masked(live), target)
    new = render(table, _masked(table), target)
    if old is not None:
        bare = render(table, _masked(table), replace(target, tombstones=()))
        stones = tombstones_for(actions_of(old), actions_of(bare), target.tombstones, _NEVER)
        new = render(table, _masked(table), replace(target, tombstones=stones))
    reload = None if old is None else plan(old, new).reload.value
    return Previewed(target.version, reload, tuple(_files(new, old)))


def _masked(table: RoutingTable) -> dict[str, Secret]:
    return {
        label: Secret(label, credential.revision, MASK, MASK)
        for label, credential in table.credentials.items()
    }


def _files(new: Generation, old: Generation | None) -> Iterable[PreviewedFile]:
    before = {} if old is None else {file.name: file.content.decode() for file in old.files}
    for file in new.files:
        text = file.content.decode()
        was = before.pop(file.name, "")
        diff = None if old is None else _diff(file.name, was, text)
        yield PreviewedFile(file.name, file.mode, text, diff)
    for name, was in before.items():
        yield PreviewedFile(name, _NEVER, "", _diff(name, was, ""))


def _diff(name: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"live/{name}", name
    )
    return "".join(lines)
