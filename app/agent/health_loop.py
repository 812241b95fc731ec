"""Health at work: relays are looked at, the log is heard, mail is hurried on, loads are measured.

One task of the agent; that it cannot do a part of its work keeps it from no other.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from app.agent import last_tries, queue
from app.agent.daemon_log import Bounced, DaemonLog, Delivered, Failed, Waits
from app.agent.draining import Draining
from app.agent.health import Health, InUse, Pace, Target, target_of
from app.agent.last_tries import LastTries
from app.agent.probe import CannotProbe, Found, Prober
from app.agent.reschedule import Rescheduler
from app.agent.smtpctl import NoAnswer, Smtpctl
from app.observe import event, failure
from app.routing.errors import ControlError
from app.wire import MAX_LISTED, Cause, RelaySeen

Tell = Callable[[frozenset[tuple[str, str]]], Awaitable[None]]
Login = tuple[str, str]
"""User and password."""
LoginOf = Callable[[Target], Login | None]


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What is done how often, in seconds.

    Attributes:
        measure_s: between two looks at what smtpd has in hand.
        sweep_s: between two looks for mail that waits and need not.
        again_s: until the program is told again, if it could not be.
        news_s: between two words to those who want to know that a relay has turned.
    """

    measure_s: float = 15.0
    sweep_s: float = 5.0
    again_s: float = 5.0
    news_s: float = 2.0


class HealthLoop:
    """Knows how the relays in use stand, and sees to it that mail does not wait for those down.

    Args:
        prober: looks at relays.
        smtpctl: asks smtpd.
        tell: tells the table program which relays are down; may raise `ControlError`, and is then
            asked again.
        spool: of smtpd.
    """

    def __init__(
        self,
        prober: Prober,
        smtpctl: Smtpctl,
        tell: Tell,
        *,
        spool: Path = queue.SPOOL,
        pace: Pace | None = None,
        rhythm: Rhythm | None = None,
    ) -> None:
        self._prober = prober
        self._smtpctl = smtpctl
        self._tell = tell
        self.login_of: LoginOf | None = None
        """With what each look logs in, which may read a file; None: with nothing."""
        self._refused: dict[Target, Login] = {}
        """With what a look was refused last."""
        self._rhythm = rhythm or Rhythm()
        self._is_queued = last_tries.is_queued(spool)
        self._log = DaemonLog()
        self._tries = LastTries()
        self._health = Health(
            self._changed,
            clock=time.monotonic,
            epoch=time.time,
            chance=random.random,
            pace=pace,
        )
        self._rescheduler = Rescheduler(
            smtpctl, self._tries, is_of_use=self._is_of_use, clock=time.monotonic
        )
        self._draining = Draining(self._health, self._tries, epoch=time.time)
        self._told: frozenset[tuple[str, str]] = frozenset()
        """Those that are down, as the program knows."""
        self._acted: frozenset[tuple[str, str]] = frozenset()
        """The same, as mail was sent by."""
        self._former: dict[str, frozenset[str]] = {}
        """Places that are in use no more while mail waits there, with the maps that had them."""
        self._usable: set[str] = set()
        """Maps with a relay that the program picks."""
        self._to_look = asyncio.Event()
        self._to_act = asyncio.Event()
        self._turned = asyncio.Event()
        self._turns = 0
        self.listeners: list[Callable[[], None]] = []
        """Are told when a relay has become up or down: some turns together."""
        self._to_tell = asyncio.Event()
        self._to_tell.set()  # what an agent before us told is not known to be so

    def remember(self, down: frozenset[tuple[str, str]]) -> None:
        """Take it that these are down until looks say otherwise; before the first `use`."""
        self._health.remember(down)

    def use(self, relays: Iterable[InUse]) -> None:
        """Watch these relays and no others."""
        before = {
            place: frozenset(relay.relay_map for relay in self._health.at(place))
            for place in self._tries.places()
        }
        self._health.use(relays)
        gone = {place: maps for place, maps in before.items() if not self._health.at(place)}
        self._former |= {place: maps for place, maps in gone.items() if maps}
        self._see_better()
        self._to_look.set()

    def seen(self) -> list[RelaySeen]:
        """Every relay in use, with what smtpd has in hand for it."""
        return [self._with_load(seen) for seen in self._health.seen()[:MAX_LISTED]]

    def heard(self, line: str) -> None:
        """Take a line of smtpd's log."""
        told = self._log.read(line)
        if isinstance(told, Failed):
            self._health.failed(told)
            self._to_look.set()
        elif isinstance(told, Delivered):
            self._forget(told.envelope)
            self._rescheduler.forget(self._places(self._health.at(told.place)))
            self._health.delivered(told)
            self._to_look.set()
        elif isinstance(told, Bounced):
            self._forget(told.envelope)
        elif isinstance(told, Waits):
            self._tries.note(told)
            if told.unconnected and self._is_better_elsewhere(told.place):
                self._rescheduler.hurry([told.envelope])

    async def check(self, relay_map: str, relay: str, login: Login | None) -> Found:
        """Look at a relay now, because somebody asked; what is found counts as any look.

        Args:
            relay_map: the map.
            relay: the name in it.
            login: user and password to try; None: none is tried.

        Raises:
            CannotProbe: it is not in use, or this machine could not look.
        """
        found = self._health.relay((relay_map, relay))
        if found is None:
            raise CannotProbe("no rule that this MTA serves uses such a relay")
        target = target_of(found)
        seen = await self._look(target, login)
        self._health.found(target, seen, logged_in=login is not None)
        return seen

    async def run(self) -> None:
        """Do all of it until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_always(group))
            group.create_task(self._tell_always())
            group.create_task(self._say_always())
            group.create_task(self._rescheduler.run())
            group.create_task(self._act_always())
            group.create_task(self._measure_always())

    # --- looking -----------------------------------------------------------------------------

    async def _look_always(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._to_look.clear()
            if self._health.turns != self._turns:
                self._turns = self._health.turns
                self._turned.set()
            for target in self._health.begin():
                group.create_task(self._look_and_note(target))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._health.wait_s()):
                    await self._to_look.wait()

    async def _look_and_note(self, target: Target) -> None:
        try:
            login = await self._login(target)
            found = await self._look(target, login)
        except CannotProbe as error:
            event("relay-not-probed", logging.WARNING, reason=str(error))
            self._health.gave_up(target)
        except Exception:  # noqa: BLE001  whatever a peer does, it must not end the agent
            failure("relay-not-probed")
            self._health.gave_up(target)
        else:
            if login is not None and found.cause is Cause.AUTH_REFUSED:
                self._refused[target] = login
            self._health.found(target, found, logged_in=login is not None)
        self._to_look.set()

    async def _login(self, target: Target) -> Login | None:
        """With what to log in now.

        What was refused is not tried again for a while: a relay may lock out who goes on trying.
        """
        if self.login_of is None:
            return None
        login = await asyncio.to_thread(self.login_of, target)
        if not self._health.is_refused(target):
            self._refused.pop(target, None)
            return login
        before = self._refused.get(target)
        return None if before is None or before == login else login

    async def _look(self, target: Target, login: Login | None) -> Found:
        return await self._prober(
            target.url, verify=target.verify, ca_file=target.ca_file, login=login
        )

    # --- telling -----------------------------------------------------------------------------

    async def _say_always(self) -> None:
        while True:
            await self._turned.wait()
            self._turned.clear()
            for listener in self.listeners:
                listener()
            await asyncio.sleep(self._rhythm.news_s)

    def _changed(self, _down: frozenset[tuple[str, str]]) -> None:
        self._to_tell.set()

    async def _tell_always(self) -> None:
        while True:
            await self._to_tell.wait()
            self._to_tell.clear()
            down = self._health.down()
            try:
                await self._tell(down)
            except ControlError as error:
                event("health-not-told", logging.WARNING, reason=str(error))
                self._to_tell.set()
                await asyncio.sleep(self._rhythm.again_s)
                continue
            self._told = down
            self._to_act.set()

    # --- mail --------------------------------------------------------------------------------

    async def _act_always(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rhythm.sweep_s):
                    await self._to_act.wait()
            self._to_act.clear()
            await self._act(self._told)
            await self._sweep()

    async def _act(self, down: frozenset[tuple[str, str]]) -> None:
        """What follows for mail, now that the program does not pick again what is down."""
        before = self._acted
        back = [relay for name in sorted(before - down) if (relay := self._health.relay(name))]
        if back:
            # First of all: next, mail is hurried there that now waits elsewhere.
            await self._rescheduler.resume(self._places(back))
        self._acted = down
        self._see_better()
        for relay_map, name in sorted(down - before):
            event("relay-down", logging.WARNING, relay_map=relay_map, relay=name)
        for relay in back:
            event("relay-up", relay_map=relay.relay_map, relay=relay.relay)
        maps = {relay.relay_map for relay in back}
        places = self._places(each for each in self._health.relays() if each.relay_map in maps)
        self._rescheduler.forget([*places, *self._tries.unconnected(places)])
        self._rescheduler.hurry(self._tries.unconnected(self._places(back)))

    async def _sweep(self) -> None:
        """Hurry what waits for a relay that is down and could go elsewhere, or for one that is up.

        The latter has met it before it came back, which smtpd may find out minutes after that. If
        smtpd goes on failing where looks do not, the whole place is left alone ever longer.
        """
        again: dict[str, list[str]] = {}
        places = self._tries.places()
        self._former = {place: self._former[place] for place in places if place in self._former}
        for place in places:
            waiting, relays = self._tries.unconnected([place]), self._health.at(place)
            up = [relay for relay in relays if self._is_up(relay)]
            if self._is_better_elsewhere(place) and not up:
                self._rescheduler.hurry(waiting)
            elif up and self._is_of_use(place) and self._rescheduler.due([place]):
                again[place] = self._rescheduler.due(waiting)
        again = {place: due for place, due in again.items() if due}
        ways = self._places(relay for place in again for relay in self._health.at(place))
        if not again or not await self._rescheduler.resume(ways):
            return
        for place, due in again.items():
            self._rescheduler.put_off(place)
            self._rescheduler.hurry(due)

    def _is_of_use(self, place: str) -> bool:
        """Whether what waits there need not come back to a relay that is down.

        Of several relays there any may be the one that was met: smtpd does not say more.
        """
        is_down = any(relay.name in self._acted for relay in self._health.at(place))
        return not is_down or self._is_better_elsewhere(place)

    def _is_better_elsewhere(self, place: str) -> bool:
        """Whether a relay there is down, the program knows, and its map has one that is not.

        Or there is none any more, and the map that had it has one.
        """
        return any(
            relay.name in self._acted and relay.relay_map in self._usable
            for relay in self._health.at(place)
        ) or not self._usable.isdisjoint(self._former.get(place, ()))

    def _is_up(self, relay: InUse) -> bool:
        return self._health.is_up(relay) and relay.name not in self._acted

    def _places(self, relays: Iterable[InUse]) -> set[str]:
        return {place for relay in relays for place in self._health.places(relay)}

    def _see_better(self) -> None:
        self._usable = {
            relay.relay_map
            for relay in self._health.relays()
            if relay.active and relay.name not in self._acted
        }

    def _forget(self, envelope: str) -> None:
        self._tries.forget(envelope)
        self._rescheduler.forget([envelope])

    async def _measure_always(self) -> None:
        while True:
            await self._measure()
            await asyncio.sleep(self._rhythm.measure_s)

    async def _measure(self) -> None:
        known = self._tries.envelopes()
        # Envelopes that expired, or that somebody removed, leave without a line.
        gone = await asyncio.to_thread(
            lambda: [each for each in known if not self._is_queued(each)]
        )
        for envelope in gone:
            self._forget(envelope)
        try:
            self._draining.measured(await self._smtpctl.loads() if self._health.relays() else [])
        except NoAnswer:
            self._draining.measured(None)

    def _with_load(self, seen: RelaySeen) -> RelaySeen:
        load = self._draining.load((seen.relay_map, seen.relay))
        if load is None:
            return seen
        return seen.model_copy(
            update={
                "sessions": load.sessions,
                "envelopes": load.envelopes,
                "quiet_since": load.quiet_since,
            }
        )
