"""What the agents last said about their MTAs, in memory, and how each MTA stands.

The rows of the store are the truth; what is held here is the last look at them.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.observe import Metrics
from app.render.opensmtpd.rows import Ability
from app.routing.errors import ControlError, Unknown
from app.routing.names import IPAddress
from app.routing.routing_table import RoutingTable
from app.server.lines import Pin
from app.server.sight import BLIND, Served, Sight, Trail, sight_of
from app.server.storage import MtaRow, ReportRow, Store
from app.wire import MtaState, RelayHealth, Report

HEARD_WITHIN = timedelta(seconds=90)
"""An agent reports every 30 s: three in a row are lost before an MTA counts as unknown."""

ANOTHER_AFTER = timedelta(minutes=1)


class AnotherAgent(ControlError):
    """Two agents report for one MTA, and each would undo what the other did."""

    code = "another-agent"

    def __init__(self) -> None:
        super().__init__(
            "another agent reported for this MTA within the last minute; stop one of them, or give "
            "this one an MTA of its own"
        )


class MtaNeverSeen(ControlError):
    """Nothing is known of the MTA's version and paths."""

    code = "mta-never-seen"

    def __init__(self) -> None:
        super().__init__("no agent has reported for this MTA yet; ask with ?version= meanwhile")


@dataclass(frozen=True, slots=True)
class Standing:
    """How an MTA stands against what was pushed to it.

    Attributes:
        wanted: what the newest push wants of it; None where there is none.
        report: what its agent last said; None where it was never heard of.
    """

    state: MtaState
    wanted: Pin | None
    push: int | None
    report: ReportRow | None
    detail: str


def standing_of(
    report: ReportRow | None, wanted: Pin | None, push: int | None, history: str, now: datetime
) -> Standing:
    """How an MTA stands.

    Args:
        report: the last one.
        wanted: by the newest push, if any.
        push: its id.
        history: of the database as it is now.
        now: the server's time.
    """
    if report is None:
        detail = "no agent has reported yet"
        return Standing(MtaState.NEVER_SEEN, wanted, push, None, detail)
    said = report.report
    state, detail = said.state, said.detail
    if not is_heard(report, now):
        state, detail = MtaState.UNKNOWN, "its agent has fallen silent"
    elif said.behind_me:
        state = MtaState.BEHIND
        detail = detail or "it serves a newer revision than this database has; push to overwrite it"
    elif state in {MtaState.LIVE, MtaState.BEHIND}:
        state = MtaState.LIVE if _serves(said, wanted, history) else MtaState.BEHIND
    return Standing(state, wanted, push, report, detail)


def is_heard(report: ReportRow, now: datetime) -> bool:
    """Whether the agent that said this is still taken to be there."""
    return now - report.seen_at <= HEARD_WITHIN


def _serves(said: Report, wanted: Pin | None, history: str) -> bool:
    if wanted is not None:
        return wanted.is_served(said.observed)
    return said.observed is None or said.observed.history == history


def version_of(text: str | None) -> tuple[int, int] | None:
    """The version of OpenSMTPD in a report, such as "6.8.0p2", as (6, 8); None where it is none."""
    major, _, rest = (text or "").partition(".")
    digits = rest[: next((n for n, c in enumerate(rest) if c not in "0123456789"), len(rest))]
    if not (major.isascii() and major.isdecimal() and digits) or len(major) + len(digits) > 6:
        return None
    return int(major), int(digits)


def ability_of(report: Report) -> Ability | None:
    """What decides what an MTA can do, as its agent reported it; None where no version is known."""
    version = version_of(report.version)
    return None if version is None else Ability(version, report.live)


class Fleet:
    """The MTAs that there are, and the last report of each."""

    def __init__(self, mtas: Iterable[MtaRow], reports: Iterable[ReportRow]) -> None:
        self._mtas: dict[str, MtaRow] = {}
        self._reports: dict[str, ReportRow] = {}
        self._addresses: dict[str, tuple[ReportRow, frozenset[IPAddress]]] = {}
        self._sights: dict[str, tuple[ReportRow, Sight]] = {}
        self._trails: dict[str, Trail] = {}
        self._take(mtas, reports)

    def _take(self, mtas: Iterable[MtaRow], reports: Iterable[ReportRow]) -> None:
        self._mtas = {mta.name: mta for mta in mtas}
        self._reports = {row.mta: row for row in reports if row.mta in self._mtas}
        self._trails = {mta: self._trails.get(mta, Trail()) for mta in self._mtas}
        for row in self._reports.values():
            self._trails[row.mta].note(row)

    @classmethod
    async def start(cls, store: Store) -> "Fleet":
        """The fleet that the store knows."""
        return cls(await store.mtas(), await store.reports())

    async def look(self, store: Store) -> None:
        """Take over what the store knows now."""
        self._take(await store.mtas(), await store.reports())

    def names(self) -> tuple[str, ...]:
        """Every MTA, in order."""
        return tuple(sorted(self._mtas))

    def report(self, mta: str) -> ReportRow | None:
        """The last report of an MTA; None where it was never heard of.

        Raises:
            Unknown: there is no such MTA.
        """
        if mta not in self._mtas:
            raise Unknown("MTA")
        return self._reports.get(mta)

    def addresses(self, mta: str) -> frozenset[IPAddress]:
        """The addresses of an MTA's host; empty before its first report.

        Raises:
            Unknown: there is no such MTA.
        """
        row = self.report(mta)
        if row is None:
            return frozenset()
        read, found = self._addresses.get(mta, (None, frozenset[IPAddress]()))
        if read is not row:
            found = frozenset(addresses_of(row.report))
            self._addresses[mta] = (row, found)
        return found

    def sight(self, mta: str, now: datetime) -> Sight:
        """The relays as an MTA sees them now; none once its agent has fallen silent.

        Raises:
            Unknown: there is no such MTA.
        """
        row = self.report(mta)
        if row is None or not is_heard(row, now):
            return BLIND
        read, found = self._sights.get(mta, (None, BLIND))
        if read is not row:
            found = sight_of(row.report)
            self._sights[mta] = (row, found)
        return found

    def last_minute(self, mta: str) -> frozenset[Served] | None:
        """All that an MTA served in the minute before its last report; None: not known.

        Raises:
            Unknown: there is no such MTA.
        """
        self.report(mta)
        trail = self._trails.get(mta)
        return None if trail is None else trail.last_minute()

    def abilities(self) -> Mapping[str, Ability]:
        """What each MTA that has said its version can do, by MTA, in order."""
        said = ((name, ability_of(self._reports[name].report)) for name in sorted(self._reports))
        return {name: ability for name, ability in said if ability is not None}

    def measure(self, metrics: Metrics, now: datetime, table: RoutingTable) -> None:
        """Set the gauges of each MTA that was heard of.

        Args:
            metrics: whose gauges.
            now: the server's time.
            table: the routing as it is: relays that are not in it are not measured.
        """
        metrics.mta_observed_revision.clear()
        metrics.mta_seen_seconds.clear()
        metrics.relay_up.clear()
        for name, row in self._reports.items():
            metrics.mta_seen_seconds.labels(name).set((now - row.seen_at).total_seconds())
            if row.report.observed is not None:
                metrics.mta_observed_revision.labels(name).set(row.report.observed.revision)
            for (relay_map, relay), seen in self.sight(name, now).relays.items():
                if seen.state is not RelayHealth.UNKNOWN and table.has_relay(relay_map, relay):
                    up = seen.state is RelayHealth.UP
                    metrics.relay_up.labels(name, relay_map, relay).set(up)

    def joined(self, mta: MtaRow) -> None:
        """Note that an MTA was made or changed."""
        self._mtas[mta.name] = mta

    def left(self, mta: str) -> None:
        """Note that an MTA is gone."""
        self._mtas.pop(mta, None)
        self._reports.pop(mta, None)
        self._addresses.pop(mta, None)
        self._sights.pop(mta, None)
        self._trails.pop(mta, None)

    def is_younger(self, mta: str, at: datetime) -> bool:
        """Whether something of that time concerns this MTA, and not one before of that name."""
        return mta in self._mtas and self._mtas[mta].created_at <= at

    def last_seen(self, mta: str) -> datetime | None:
        """When an MTA's agent was last heard of; None for never."""
        row = self._reports.get(mta)
        return None if row is None else row.seen_at

    def refuse_another(self, row: ReportRow) -> None:
        """Let one agent speak for an MTA.

        Raises:
            Unknown: there is no such MTA.
            AnotherAgent: a different one spoke within the last minute.
        """
        last = self.report(row.mta)
        if last is None or last.report.agent == row.report.agent:
            return
        if row.seen_at - last.seen_at < ANOTHER_AFTER:
            raise AnotherAgent

    def heard(self, row: ReportRow) -> None:
        """Note a report."""
        if row.mta in self._mtas:
            self._reports[row.mta] = row
            self._trails.setdefault(row.mta, Trail()).note(row)


def addresses_of(report: Report) -> tuple[IPAddress, ...]:
    """The addresses in a report that are some; an agent's mistake must not stop its MTA."""
    found: list[IPAddress] = []
    for text in report.addresses:
        try:
            found.append(ipaddress.ip_address(text))
        except ValueError:
            continue
    return tuple(found)
