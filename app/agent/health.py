"""Which relays are down, as looks at them and the daemon's log tell, and whom to look at next.

It does nothing by itself: who runs it asks whom to look at, looks, and says what was found.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from app.agent.daemon_log import Delivered, Failed
from app.agent.probe import Found
from app.routing.relay_url import RelayURL
from app.wire import Cause, RelayHealth, RelaySeen

_JITTER = 0.1
"""Looks come up to so much of their interval earlier or later: hosts must not march in step."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often it is looked.

    Attributes:
        up_s, otherwise_s: between two looks at one relay that is up, and at one that is not.
        least_s: between two looks at one relay, whatever the log says.
        at_once: looks at the same time.
        a_second: looks that begin in one second.
        to_turn: looks in a row with the same end that make a relay up or down.
        refused_s: for so long a refused login makes a relay down, since only mail can tell more.
    """

    up_s: float = 30.0
    otherwise_s: float = 5.0
    least_s: float = 1.0
    at_once: int = 32
    a_second: float = 50.0
    to_turn: int = 2
    refused_s: float = 300.0


@dataclass(frozen=True, slots=True)
class InUse:
    """A relay of a map that rules use.

    Attributes:
        verify, ca_file: how its certificate is checked, as for `probe`; the strictest of its rules.
        active: whether its map gives it anything new.
    """

    relay_map: str
    relay: str
    url: RelayURL
    verify: bool | None = None
    ca_file: Path | None = None
    active: bool = True

    @property
    def name(self) -> tuple[str, str]:
        """Map and relay."""
        return self.relay_map, self.relay


@dataclass(frozen=True, slots=True)
class Target:
    """What is looked at: relays that mean the same and are checked alike share it."""

    url: RelayURL
    verify: bool | None
    ca_file: Path | None


@dataclass(slots=True)
class _Watched:
    """What is known of a target; `failures` and `successes` are those in a row."""

    since: float
    due: float
    state: RelayHealth = RelayHealth.UNKNOWN
    cause: Cause | None = None
    reply: int | None = None
    failures: int = 0
    successes: int = 0
    looked: float | None = None
    refused_until: float = 0.0
    places: frozenset[str] = field(default_factory=frozenset)


class Health:
    """The relays in use, and how each one stands.

    Args:
        tell: is told which are down whenever that changes, as (map, relay).
        clock: seconds that only ever grow.
        epoch: seconds since the epoch.
        chance: a number in [0, 1).
    """

    def __init__(
        self,
        tell: Callable[[frozenset[tuple[str, str]]], None],
        *,
        clock: Callable[[], float],
        epoch: Callable[[], float],
        chance: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._epoch = epoch
        self._chance = chance
        self._pace = pace or Pace()
        self._relays: dict[tuple[str, str], InUse] = {}
        self._of: dict[Target, list[InUse]] = {}
        self._watched: dict[Target, _Watched] = {}
        self._at: dict[str, set[Target]] = {}
        self._looking: set[Target] = set()
        self._heap: list[tuple[float, int, Target]] = []
        self._order = count()
        self._free_at = 0.0
        self._down: frozenset[tuple[str, str]] = frozenset()
        self._before: frozenset[tuple[str, str]] = frozenset()
        self.turns = 0
        """How often a relay has come to stand otherwise than before."""

    # --- what is in use ----------------------------------------------------------------------

    def remember(self, down: frozenset[tuple[str, str]]) -> None:
        """Take it that these are down, as was known before us, until looks say otherwise.

        Before the first `use`, at which those that are not in use are forgotten.
        """
        self._down = self._before = down

    def use(self, relays: Iterable[InUse]) -> None:
        """Watch these relays and no others; what is known of those that stay is kept."""
        self._relays = {relay.name: relay for relay in relays}
        wanted: dict[Target, list[InUse]] = {}
        for relay in self._relays.values():
            wanted.setdefault(target_of(relay), []).append(relay)
        self._of = wanted
        for gone in self._watched.keys() - wanted.keys():
            self._place(gone, frozenset())
            del self._watched[gone]
        now, epoch = self._clock(), self._epoch()
        for new in wanted.keys() - self._watched.keys():
            watched = self._watched[new] = _Watched(since=epoch, due=now)
            if any(relay.name in self._before for relay in wanted[new]):
                watched.state = RelayHealth.DOWN
            self._place(new, frozenset({_place_of(new.url)}))
            self._put(new, now)
        self._before = frozenset()
        self._tell_of_all()

    def relays(self) -> list[InUse]:
        """Those in use."""
        return list(self._relays.values())

    def relay(self, name: tuple[str, str]) -> InUse | None:
        """The one of that name; None if it is not in use."""
        return self._relays.get(name)

    def places(self, relay: InUse) -> frozenset[str]:
        """Its host and the addresses of that, as the daemon's log writes them."""
        watched = self._watched.get(target_of(relay))
        return frozenset() if watched is None else watched.places

    def is_up(self, relay: InUse) -> bool:
        """Whether the last looks found it well, and the daemon has not failed there since."""
        watched = self._watched.get(target_of(relay))
        if watched is None or watched.failures:
            return False
        return watched.state is RelayHealth.UP

    def at(self, place: str) -> list[InUse]:
        """Those whose host or address this is."""
        return [relay for target in self._at.get(place, ()) for relay in self._of[target]]

    # --- looking -----------------------------------------------------------------------------

    def begin(self) -> list[Target]:
        """Whom to look at now; each counts as being looked at until `found` or `gave_up`."""
        now, begun = self._clock(), []
        while self._next() is not None and self._may_begin(now):
            _, _, target = heapq.heappop(self._heap)
            self._looking.add(target)
            self._free_at = max(self._free_at, now) + 1 / self._pace.a_second
            begun.append(target)
        return begun

    def wait_s(self) -> float | None:
        """Seconds until `begin` may have more; None: not before something else happens."""
        due = self._next()
        if due is None or len(self._looking) >= self._pace.at_once:
            return None
        return max(0.0, max(due, self._free_at) - self._clock())

    def is_refused(self, target: Target) -> bool:
        """Whether a login was refused there of late."""
        watched = self._watched.get(target)
        return watched is not None and watched.refused_until > self._clock()

    def gave_up(self, target: Target) -> None:
        """Looking was not possible, which says nothing about the relay."""
        self._looking.discard(target)
        watched = self._watched.get(target)
        if watched is not None:
            self._again(target, watched)

    def found(self, target: Target, found: Found, *, logged_in: bool = False) -> None:
        """Note what a look has found.

        Args:
            target: what was looked at.
            found: what was seen.
            logged_in: whether a login was part of it.
        """
        self._looking.discard(target)
        watched = self._watched.get(target)
        if watched is None:
            return
        before = watched.state
        if found.addresses:
            places = {str(address) for address in found.addresses}
            self._place(target, frozenset({_place_of(target.url), *places}))
        if logged_in and found.state is RelayHealth.UP:
            watched.refused_until = 0.0
        if found.cause is Cause.AUTH_REFUSED:
            self._refuse(watched, found.reply)
        else:
            self._count(watched, found)
        self._again(target, watched)
        self._tell_of(target, before)

    # --- what the daemon says ----------------------------------------------------------------

    def failed(self, failed: Failed) -> None:
        """The daemon could not hand mail to somewhere: look there at once.

        Its word stands for one look; the next one that fails makes the relay down.
        """
        targets = self._matching(failed.place, failed.port)
        if failed.cause is Cause.AUTH_REFUSED:
            self._login_refused(targets, failed.reply)
            return
        for target in targets:
            watched = self._watched[target]
            watched.failures = max(watched.failures, self._pace.to_turn - 1)
            self._hurry(target, watched)

    def delivered(self, delivered: Delivered) -> None:
        """The daemon has handed mail over: a login that was refused there is not any more."""
        for target in self._matching(delivered.place, delivered.port):
            watched = self._watched[target]
            if watched.refused_until:
                watched.refused_until = 0.0
                self._hurry(target, watched)

    # --- what is seen ------------------------------------------------------------------------

    def down(self) -> frozenset[tuple[str, str]]:
        """Those that are down, as (map, relay)."""
        return self._down

    def seen(self) -> list[RelaySeen]:
        """Every relay in use, by map and name."""
        return [self._seen(relay) for _, relay in sorted(self._relays.items())]

    def _seen(self, relay: InUse) -> RelaySeen:
        watched = self._watched[target_of(relay)]
        return RelaySeen(
            relay_map=relay.relay_map,
            relay=relay.relay,
            state=watched.state,
            since=int(watched.since),
            cause=watched.cause,
            reply=watched.reply,
        )

    # --- how a relay turns -------------------------------------------------------------------

    def _count(self, watched: _Watched, found: Found) -> None:
        if found.state is RelayHealth.UNKNOWN:
            watched.failures = watched.successes = 0
            self._turn(watched, found)
        elif found.state is RelayHealth.UP:
            watched.failures, watched.successes = 0, watched.successes + 1
            may_turn = watched.state is not RelayHealth.DOWN
            is_refused = watched.refused_until > self._clock()
            if not is_refused and (may_turn or watched.successes >= self._pace.to_turn):
                self._turn(watched, found)
        else:
            watched.failures, watched.successes = watched.failures + 1, 0
            if watched.failures >= self._pace.to_turn or watched.state is RelayHealth.DOWN:
                self._turn(watched, found)

    def _turn(self, watched: _Watched, found: Found) -> None:
        if watched.state is not found.state:
            watched.state, watched.since = found.state, self._epoch()
            self.turns += 1
        watched.cause, watched.reply = found.cause, found.reply

    def _refuse(self, watched: _Watched, reply: int | None) -> None:
        watched.successes = 0
        watched.refused_until = self._clock() + self._pace.refused_s
        self._turn(watched, Found(RelayHealth.DOWN, Cause.AUTH_REFUSED, reply))

    def _login_refused(self, targets: list[Target], reply: int | None) -> None:
        """Two logins at one address cannot be told apart by what the log says."""
        with_login = [target for target in targets if target.url.credential is not None]
        if len({target.url.credential for target in with_login}) == 1:
            for target in with_login:
                watched = self._watched[target]
                before = watched.state
                self._refuse(watched, reply)
                self._tell_of(target, before)

    def _tell_of(self, target: Target, before: RelayHealth) -> None:
        """Tell if a target has become down, or is so no more."""
        state = self._watched[target].state
        if (state is RelayHealth.DOWN) != (before is RelayHealth.DOWN):
            names = frozenset(relay.name for relay in self._of[target])
            is_down = state is RelayHealth.DOWN
            self._down = self._down | names if is_down else self._down - names
            self._tell(self._down)

    def _tell_of_all(self) -> None:
        """Tell if other relays are down now that others are in use."""
        down = frozenset(
            relay.name
            for target, watched in self._watched.items()
            if watched.state is RelayHealth.DOWN
            for relay in self._of[target]
        )
        if down != self._down:
            self._down = down
            self._tell(down)

    # --- when it is looked -------------------------------------------------------------------

    def _again(self, target: Target, watched: _Watched) -> None:
        watched.looked = self._clock()
        is_well = watched.state is RelayHealth.UP and watched.failures == 0
        every_s = self._pace.up_s if is_well else self._pace.otherwise_s
        self._put(target, self._clock() + every_s * (1 + _JITTER * (2 * self._chance() - 1)))

    def _hurry(self, target: Target, watched: _Watched) -> None:
        earliest = self._clock()
        if watched.looked is not None:
            earliest = max(earliest, watched.looked + self._pace.least_s)
        if target not in self._looking and watched.due > earliest:
            self._put(target, earliest)

    def _put(self, target: Target, due: float) -> None:
        self._watched[target].due = due
        heapq.heappush(self._heap, (due, next(self._order), target))

    def _next(self) -> float | None:
        """When the next look is due; what was put off or is over is dropped on the way."""
        while self._heap:
            due, _, target = self._heap[0]
            watched = self._watched.get(target)
            if watched is not None and watched.due == due and target not in self._looking:
                return due
            heapq.heappop(self._heap)
        return None

    def _may_begin(self, now: float) -> bool:
        is_due = self._heap[0][0] <= now and self._free_at <= now
        return is_due and len(self._looking) < self._pace.at_once

    def _matching(self, place: str, port: int | None) -> list[Target]:
        return [
            target
            for target in self._at.get(place, ())
            if port is None or target.url.effective_port == port
        ]

    def _place(self, target: Target, places: frozenset[str]) -> None:
        watched = self._watched[target]
        for place in watched.places - places:
            self._at[place].discard(target)
            if not self._at[place]:
                del self._at[place]
        for place in places - watched.places:
            self._at.setdefault(place, set()).add(target)
        watched.places = places


def target_of(relay: InUse) -> Target:
    """What is looked at for a relay."""
    return Target(relay.url, relay.verify, relay.ca_file)


def _place_of(url: RelayURL) -> str:
    return url.host.strip("[]")
