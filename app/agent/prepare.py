"""From what is wanted to a generation staged and checked; nothing that the MTA reads is touched.

The steps, in this order: read, secrets, render, read-back, plan, would-strand, stage, check.
"""

import asyncio
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from app.agent import addresses, credentials, durable, operator_file, queue, revival, tombstones
from app.agent.generations import Generations, Intent, Origin, Staged
from app.agent.live_file import Content
from app.agent.memory import Memory, Started
from app.agent.opensmtpd import CheckRefused, OpenSMTPD
from app.agent.operator_file import Declared
from app.agent.prepare_live import LivePreparer
from app.agent.process import Identity
from app.agent.queue import Scan
from app.agent.strand import WouldNotBeAsked, WouldStrand, asking
from app.render import plan
from app.render.generation import Generation, Secret, Target
from app.render.opensmtpd import live_read_back, render
from app.render.opensmtpd.live import render_live
from app.render.opensmtpd.read_back import check_read_back
from app.render.opensmtpd.tombstones import actions_of, is_ours, tombstones_for
from app.routing.errors import ControlError
from app.routing.model import model_digest, read_model
from app.routing.routing_table import EMPTY, RoutingTable
from app.wire import Reload, Wanted

CONF = plan.CONF
_TTL = re.compile(r" ttl ([0-9]+)s$")


class NotTheModel(ControlError):
    """What came is not what its digest says, or not what its rendering says."""

    code = "not-the-model"


@dataclass(frozen=True, slots=True)
class Place:
    """What the generation is made for, as it was found.

    Attributes:
        now_s: when it was looked at, in seconds since the epoch.
        left: what an earlier going back could not be ended from, if there is such.
        running: the MTA's process; None if it does not run.
        loaded: what that process was seen to have loaded; None where somebody else started it.
        drifted: files of the live generation that were changed by hand.
        scan: of the queue; empty where nothing depends on it, since a queue may be long.
    """

    now_s: int
    live: Staged
    old: Generation
    left: Staged | None
    drifted: tuple[str, ...]
    version: tuple[int, int]
    running: Identity | None
    loaded: Started | None
    declared: Declared
    scan: Scan


@dataclass(frozen=True, slots=True)
class Move:
    """A generation that is ready to be switched to.

    Attributes:
        actions: every action name that the MTA will know with it.
    """

    staged: Staged
    intent: Intent
    actions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A push that is ready to be made.

    Attributes:
        move: to another generation first; None where the one that serves has all that it takes.
        content: what is then written into the live file; None where there is none.
        reload: what it takes.
        note: what people should know about it, if it comes to be served.
    """

    move: Move | None
    content: Content | None
    reload: Reload
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Rendered:
    """Files, and what it takes to serve them after the ones before."""

    files: Generation
    target: Target
    reload: Reload
    tables: tuple[str, ...]
    actions: frozenset[str]


class Preparer:
    """Makes generations of one state directory, for one MTA."""

    def __init__(
        self,
        generations: Generations,
        mta: OpenSMTPD,
        *,
        spool: Path,
        now_s: Callable[[], int],
        at: Callable[[str], None],
        live: LivePreparer | None = None,
    ) -> None:
        self.live = live
        self._generations = generations
        self._mta = mta
        self._spool = spool
        self._now_s = now_s
        self._at = at

    async def first(self) -> None:
        """Make an empty generation live if there is none: the operator's include must resolve."""
        if self._generations.live() is not None:
            return
        version = await self._mta.version()
        target = Target(version.number, str(self._generations.state_dir))
        if self.live is not None:
            files = render_live(EMPTY, {}, target).files
        else:
            files = render.render(EMPTY, {}, target)
        staged = self._generations.stage(files, Origin())
        self._generations.activate(staged.number)
        self._generations.prune()

    async def prepare(self, wanted: Wanted, memory: Memory, limit_s: float) -> Prepared:
        """Make the generation that is wanted.

        Raises:
            ControlError: a permanent one refuses the push; a temporary one lets it fail for now.
            OSError: the disk, or the operator's file, cannot be read.
        """
        self._at("read")
        table = await asyncio.to_thread(self._model, wanted)
        self._at("secrets")
        given = wanted.secrets
        if self.live is not None and wanted.base is not None:
            given = self.live.secrets(wanted)
        secrets = credentials.checked(table, given)
        place = await self._look(memory)
        if self.live is not None:
            return await self._prepare_live(self.live, wanted, table, secrets, place, limit_s)
        await self._refuse_to_stopasking(place)
        self._at("render")
        rendered = self._render(partial(render.render, table, secrets), place)
        self._at("read-back")
        check_read_back(table, secrets, rendered.files, rendered.target)
        move = await self._move(wanted, rendered, secrets, place, limit_s)
        return Prepared(move, None, rendered.reload, _note(place.drifted))

    async def _prepare_live(
        self,
        live: LivePreparer,
        wanted: Wanted,
        table: RoutingTable,
        secrets: Mapping[str, Secret],
        place: Place,
        limit_s: float,
    ) -> Prepared:
        """What is to be written, and the generation that it takes if smtpd lacks an action."""
        self._at("render")
        lives = place.now_s, _retire_at(place.now_s, place.declared, place.old)
        lacking = await asyncio.to_thread(
            live.prepare, wanted, table, secrets, place.old, self._target(place), lives
        )
        settled = not (place.drifted or place.left) and await live.is_asked(place.running)
        if lacking.enough and settled:
            same = live.file.meta().model_digest == wanted.model_digest
            return Prepared(None, lacking.content, Reload.NONE if same else Reload.LIVE)
        rendered = self._render(lambda target: lacking.render(target).files, place, anew=True)
        self._at("read-back")
        live_read_back.check(lacking.content.actions, rendered.files)
        move = await self._move(wanted, rendered, secrets, place, limit_s)
        names = frozenset(actions_of(rendered.files))
        content = replace(lacking.content, names=names)
        return Prepared(move, content, rendered.reload, _note(place.drifted))

    async def _move(
        self,
        wanted: Wanted,
        rendered: _Rendered,
        secrets: Mapping[str, Secret],
        place: Place,
        limit_s: float,
    ) -> Move:
        """Stage a generation and let smtpd check it."""
        self._at("would-strand")
        if rendered.reload is Reload.RESTART:
            _refuse_to_strand(place, rendered.actions)
        self._at("stage")
        if place.drifted:
            self._generations.keep_drifted(place.live, place.drifted)
        staged = self._generations.stage(rendered.files, _origin(wanted, rendered))
        self._at("check")
        await self._check(staged, rendered.files, secrets, limit_s)
        left = None if place.left is None else place.left.number
        intent = Intent(
            place.live.number, staged.number, rendered.reload, rendered.tables, failed=left
        )
        return Move(staged, intent, rendered.actions)

    async def _refuse_to_stopasking(self, place: Place) -> None:
        """Let no files take the place of the table program while queued mail needs it.

        Raises:
            WouldNotBeAsked: with the actions.
        """
        asked = asking(actions_of(place.old))
        if not asked:
            return
        scan = await self._scan()
        named = frozenset(name for name in asked if scan.may_name(name))
        if named:
            raise WouldNotBeAsked(named)

    async def revive(self, intent: Intent, limit_s: float) -> Move | None:
        """The old generation with what mail needs that the new one accepted; None if it needs none.

        Raises:
            ControlError, OSError: it could not be made.
        """
        old, new = (self._generations.staged(n) for n in (intent.old, intent.new))
        before, after = self._generations.read(old), self._generations.read(new)
        declared = self._mta.declared()
        retire_at = _retire_at(self._now_s(), declared, after)
        stones = revival.orphans(before, after, await self._scan(), retire_at)
        if not stones:
            return None
        files = revival.revived(before, after, stones, str(self._generations.live_link))
        kept = (*old.origin.tombstones, *stones)
        staged = self._generations.stage(files, replace(old.origin, tombstones=kept))
        await self._check(staged, files, {}, limit_s)
        actions = declared.actions | actions_of(files).keys()
        return Move(staged, Intent(old.number, staged.number, Reload.RESTART), frozenset(actions))

    def _target(self, place: Place) -> Target:
        """The MTA as it is, with the addresses that its host had when it started."""
        present = addresses.of_host()
        return Target(
            place.version,
            str(self._generations.state_dir),
            present if place.loaded is None else place.loaded.addresses,
            tuple(sorted(place.declared.certificates)),
            tuple(sorted(place.declared.cas)),
            present=present,
        )

    def _render(
        self, rendering: Callable[[Target], Generation], place: Place, *, anew: bool = False
    ) -> _Rendered:
        """The files, and what it takes to serve them.

        What the MTA took from its host when it started, and every retired action, stay as they are
        until it must be started anyway: no restart for their sake.
        """
        bare = self._target(place)
        files, target = self._with_tombstones(rendering, bare, place, frozenset())
        planned = plan.plan(place.old, files)
        reload = Reload(planned.reload.value)
        known = place.running is not None and not place.drifted and not place.left
        if reload is Reload.RESTART or anew or not known:
            reload = Reload.RESTART
            bare = replace(bare, addresses=bare.present or ())
            buried = place.live.origin.tombstones
            over = frozenset(t.action for t in buried) - {
                t.action for t in tombstones.kept(buried, place.now_s, place.scan)
            }
            files, target = self._with_tombstones(rendering, bare, place, over)
        actions = place.declared.actions | actions_of(files).keys()
        return _Rendered(files, target, reload, planned.tables, frozenset(actions))

    def _with_tombstones(
        self,
        rendering: Callable[[Target], Generation],
        bare: Target,
        place: Place,
        over: frozenset[str],
    ) -> tuple[Generation, Target]:
        """The files with every action that goes kept as a tombstone, less those that are `over`."""
        files = rendering(bare)
        left = {} if place.left is None else actions_of(self._generations.read(place.left))
        old = {
            name: act for name, act in (left | actions_of(place.old)).items() if name not in over
        }
        when = _retire_at(place.now_s, place.declared, place.old)
        if self.live is None:  # nobody would answer for them, and no mail names them
            asked = asking(old)
            over, old = over | asked, {n: act for n, act in old.items() if n not in asked}
        kept = [each for each in place.live.origin.tombstones if each.action not in over]
        graves = tombstones_for(old, actions_of(files).keys(), kept, when)
        if not graves:
            return files, bare
        target = replace(bare, tombstones=graves)
        return rendering(target), target

    async def _check(
        self,
        staged: Staged,
        files: Generation,
        secrets: Mapping[str, Secret],
        limit_s: float,
    ) -> None:
        """Let smtpd check the staged bytes, under the operator's file as it is.

        Both are given as copies in which nothing but the path to the staged files is changed: a
        private mount over `live` would leave even the path as it is, but needs CAP_SYS_ADMIN,
        which neither the confined unit nor a container has.

        Raises:
            NotIncluded, CheckRefused: it would not serve them.
        """
        live, own = self._generations.live_link, self._generations.directory(staged.number)
        room = self._generations.check_room
        room.mkdir(mode=0o700, exist_ok=True)
        operator, ours = room / "smtpd.conf", room / CONF
        try:
            text = operator_file.with_include(self._mta.conf, self._mta.ours, ours)
            durable.replace(operator, text.encode())
            durable.replace(ours, _conf_of(files).replace(f"{live}/".encode(), f"{own}/".encode()))
            await self._mta.check(operator, limit_s)
        except CheckRefused as error:
            said = str(error).replace(str(operator), str(self._mta.conf))
            said = said.replace(str(ours), str(self._mta.ours))
            raise CheckRefused(_masked(said, secrets.values())) from None
        finally:
            shutil.rmtree(room)

    def _model(self, wanted: Wanted) -> RoutingTable:
        """The routing that is wanted, once it is sure that it is the one that was meant."""
        if wanted.base is None:
            table = read_model(wanted.model, wanted.revision)
            wanted.model.clear()  # a million entries are hundreds of megabytes there
        elif self.live is not None:
            table = self.live.changed(wanted)
        else:
            raise NotTheModel("changes came to an agent that asked for a whole model")
        if model_digest(table) != wanted.model_digest:
            raise NotTheModel("the model is not the one that its digest says; nothing was done")
        return table

    async def _look(self, memory: Memory) -> Place:
        live = self._generations.live()
        if live is None:
            raise AssertionError("a first generation was made at start")
        now_s, started, unended = self._now_s(), memory.started, self._generations.intent()
        version, running = await self._mta.version(), await self._mta.control.running()
        loaded = started if started is not None and running in {None, started.process} else None
        over = any(stone.retire_at <= now_s for stone in live.origin.tombstones)
        scan = await self._scan() if over or running is None or loaded is None else queue.NOTHING
        return Place(
            now_s,
            live,
            self._generations.read(live),
            None if unended is None else self._generations.staged(unended.new),
            self._generations.drift(live),
            version.number,
            running,
            loaded,
            self._mta.declared(),
            scan,
        )

    async def _scan(self) -> Scan:
        return await asyncio.to_thread(queue.scan, self._spool)


def _retire_at(now_s: int, declared: Declared, files: Generation) -> int:
    """When actions of some files may go, if they are retired now."""
    texts = (action.text for action in actions_of(files).values())
    ttls = [int(found[1]) for text in texts if (found := _TTL.search(text))]
    return tombstones.retire_at(now_s, declared.queue_ttl_s, max(ttls, default=0))


def _refuse_to_strand(place: Place, actions: frozenset[str]) -> None:
    """Let no restart take an action away that smtpd runs with, unless we retired it ourselves.

    Raises:
        WouldStrand: with their names.
    """
    old = actions_of(place.old).items()
    ours = {name for name, action in old if is_ours(name) or not action.can_be_queued}
    # What somebody else started has loaded what nobody can tell: the queue says what it must have.
    has = place.scan.actions if place.loaded is None else place.loaded.actions
    gone = has - actions - ours
    if place.running is None:  # nothing can be queued under them any more
        gone = frozenset(name for name in gone if place.scan.may_name(name))
    if gone:
        raise WouldStrand(frozenset(gone), queued=place.loaded is None)


def _note(drifted: tuple[str, ...]) -> str:
    if not drifted:
        return ""
    return (
        "changed by hand, kept in the agent's drifted directory (but for passwords) and replaced:"
        f" {', '.join(drifted)}"
    )


def _origin(wanted: Wanted, rendered: _Rendered) -> Origin:
    return Origin(
        wanted.history,
        wanted.revision,
        wanted.model_digest,
        wanted.push,
        rendered.reload,
        rendered.target.tombstones,
    )


def _conf_of(files: Generation) -> bytes:
    conf = files.file(CONF)
    if conf is None:
        raise AssertionError("every rendering has a relaymap.conf")
    return conf.content


def _masked(text: str, secrets: Iterable[Secret]) -> str:
    """A text of smtpd's without any password or user name that it may have quoted."""
    for secret in secrets:
        for word in (secret.password, secret.username):
            text = text.replace(word, "********")
    return text
