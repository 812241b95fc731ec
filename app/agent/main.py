"""The agent's composition root: settings to parts, parts to a running agent."""

import asyncio
import contextlib
import grp
import os
import signal
import socket
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path

from app.agent import journal, program, queue
from app.agent.apply import Applier
from app.agent.control import Control
from app.agent.generations import Generations
from app.agent.health_loop import HealthLoop
from app.agent.link import Link
from app.agent.live_file import LiveFile
from app.agent.logins import Logins
from app.agent.loop import Loop
from app.agent.memory import MemoryFile
from app.agent.opensmtpd import OpenSMTPD
from app.agent.prepare import Preparer
from app.agent.prepare_live import LivePreparer
from app.agent.probe import Prober
from app.agent.report import Reporter
from app.agent.smtpctl import Smtpctl
from app.agent.supervise import Supervise
from app.agent.systemd import Systemd
from app.agent.watch import Watch
from app.observe import event, start_log
from app.render.plan import CONF
from app.routing.errors import ControlError
from app.routing.live_file import NotLive
from app.routing.routing_table import StateKey
from app.settings import AgentSettings, Asks
from app.settings import Control as ControlSetting

_GROUPS = ("opensmtpd", "_smtpd")
"""What Debian and what the portable source call the group of smtpd's table process."""


class CannotRun(ControlError):
    """This machine, or this user, is not one that an agent can work as."""

    code = "cannot-run"


def run(settings: AgentSettings) -> None:
    """Run an agent until SIGTERM or SIGINT; what is being applied then is still finished.

    Raises:
        CannotRun, AnotherAgent, Unanswered: it could not begin.
    """
    start_log(None if settings.log is None else settings.log.value, settings.log_level.value)
    asyncio.run(_run(settings))


async def _run(settings: AgentSettings) -> None:
    if os.geteuid() != 0:
        raise CannotRun("the agent needs root: smtpctl speaks with nobody else")
    os.umask(0o077)
    state_dir = settings.state_dir.absolute()
    generations = Generations(state_dir, group_of_mta())
    generations.open()
    memory = MemoryFile(state_dir)
    memory.open()
    live = _live_preparer(settings, state_dir)
    control = _control(settings)
    mta = OpenSMTPD(
        settings.smtpd,
        settings.smtpctl,
        control,
        conf=settings.smtpd_conf,
        ours=generations.live_link / CONF,
    )
    preparer = Preparer(generations, mta, spool=queue.SPOOL, now_s=_now_s, at=_no_one, live=live)
    applier = Applier(
        generations, mta, memory, preparer, limit_s=settings.apply_limit_s, at=_no_one
    )
    health = None if live is None else _health(settings, live)
    await preparer.first()
    # From here on the operator's include resolves: what waits for us may start, smtpd above all.
    _notify("READY=1")
    event("agent-started", mta=settings.mta, agent=memory.now.agent, live=live is not None)
    link = Link(settings.server, settings.token_path)
    watch = None
    if live is not None and isinstance(control, Supervise):
        watch = Watch(live.file.room, control)
    reporter = Reporter(generations, mta, memory, live, health, watch)
    loop = Loop(link, applier, reporter, memory)
    if health is not None:
        health.listeners.append(loop.tell_now)
    beside = [] if health is None else [_look_after(health, control, settings.unit)]
    beside += [] if watch is None else [watch.run()]
    try:
        await _until_told(_life(loop, applier, control, beside), loop.busy)
    finally:
        await link.close()
        if live is not None:
            live.file.close()
        generations.close()


async def _life(
    loop: Loop, applier: Applier, control: Control, beside: Iterable[Coroutine[None, None, None]]
) -> None:
    async with asyncio.TaskGroup() as group:
        for each in beside:
            group.create_task(each)
        if isinstance(control, Supervise):
            group.create_task(control.run())
        async with loop.busy:
            if await applier.recover() is None and isinstance(control, Supervise):
                await applier.start()
        group.create_task(loop.run())


async def _look_after(health: HealthLoop, control: Control, unit: str) -> None:
    """See to the health of relays, with what smtpd logs where its log can be read."""
    async with asyncio.TaskGroup() as group:
        if isinstance(control, Supervise):
            control.listeners.append(health.heard)
        else:
            group.create_task(journal.follow(unit, health.heard))
        group.create_task(health.run())


async def _until_told(life: Coroutine[None, None, None], busy: asyncio.Lock) -> None:
    """Live until a signal says to end; then end, but not in the middle of an apply."""
    told = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, told.set)
    living = asyncio.create_task(life)
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait({living, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if living.done():
        await living  # it never ends but by an error: here it is
        return
    _notify("STOPPING=1")
    async with busy:
        living.cancel()
        await asyncio.wait({living})
    event("agent-ended")


def group_of_mta() -> int:
    """The group that must be able to read what smtpd reads.

    Raises:
        CannotRun: smtpd is not installed here.
    """
    for name in _GROUPS:
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            continue
    raise CannotRun(f"there is no group {' or '.join(_GROUPS)}: is OpenSMTPD installed?")


def _live_preparer(settings: AgentSettings, state_dir: Path) -> LivePreparer | None:
    """What prepares pushes to an MTA that asks the table program; None where it reads files.

    Raises:
        CannotRun: it is to ask, and the program is not where smtpd looks for it.
        NotWritten: the live file cannot be made.
    """
    if settings.mode is Asks.STATIC:
        return None
    if program.installed() is None:
        if settings.mode is Asks.AUTO:
            return None
        raise CannotRun(
            f"{program.NAME} is in none of {', '.join(program.PLACES)}: run"
            " relaymap table-program install"
        )
    file = LiveFile(state_dir, group_of_mta())
    file.open()
    return LivePreparer(file)


def _health(settings: AgentSettings, live: LivePreparer) -> HealthLoop:
    async def tell(down: frozenset[StateKey]) -> None:
        await asyncio.to_thread(live.file.tell, down)

    health = HealthLoop(Prober(leave_out=settings.probe_not), Smtpctl(settings.smtpctl), tell)
    with contextlib.suppress(NotLive):  # nobody's word: ours is written over it
        health.remember(live.file.down())
    if settings.probe_auth:
        health.login_of = Logins(live.file).of
    return health


def _control(settings: AgentSettings) -> Control:
    if settings.control is ControlSetting.SUPERVISE:
        return Supervise(settings.smtpd, settings.smtpd_conf)
    return Systemd(settings.unit)


def _now_s() -> int:
    return int(time.time())


def _no_one(_step: str) -> None:
    """Nobody follows the steps but tests."""


def _notify(state: str) -> None:
    """Tell systemd how we stand, if it asked (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as systemd:
        systemd.sendto(state.encode(), address)
