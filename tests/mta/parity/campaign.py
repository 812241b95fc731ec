"""Many random routing tables, each through a real smtpd; and where it and `resolve` disagree."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from app.render.generation import Generation, Target
from app.routing.envelope import Undeliverable
from app.routing.policies import smooth_turns
from app.routing.relay_map import Policy, RelayMap
from app.routing.routing_table import RoutingTable
from app.wire import Reload
from tests.mta.parity.coverage import choose, required
from tests.mta.parity.envelopes import Sent, bounce_of
from tests.mta.parity.expectation import ALL_UP, Down, Expected, Fate, Seen, expected, sinks_of
from tests.mta.parity.observation import Outcome, Ward
from tests.mta.parity.tables import routing_table
from tests.mta.parity.variations import some_down, variation

TABLES = 20
"""At least so many; more, until everything was hit `HITS` times."""
MOST_TABLES = 60
ENVELOPES = 22
HITS = 10
HITS_LIVE = 5
"""Static files have the others: what is common to both is hit there."""
RARE = {"table's *.parent, 2 up": 1}
"""What chance brings so seldom that a campaign would go on for its sake alone."""
VARIATIONS = 3
"""Of each random table, where they cost little."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One routing table, what was sent through it, and what a daemon did.

    Attributes:
        files: what the daemon read; None where it asked.
        down: the relays that health said get nothing.
        reload: what it took to serve this table after the one before.
    """

    table: RoutingTable
    files: Generation | None
    sent: Sequence[Sent]
    outcome: Outcome
    target: Target
    down: Down = ALL_UP
    reload: Reload = Reload.RESTART


@dataclass(frozen=True, slots=True)
class Campaign:
    """All trials of one seed, and how often each thing was hit in them."""

    seed: int
    trials: list[Trial]
    hits: Counter[str]
    live: bool = False

    @property
    def envelopes(self) -> int:
        """How many envelopes were sent."""
        return sum(len(trial.sent) for trial in self.trials)


def run(seed: int, ward: Ward) -> Campaign:
    """Send random envelopes through random tables until everything was hit often enough.

    A daemon that asks is given variations of most tables, for which it needs no restart.
    """
    random = Random(seed)
    campaign = Campaign(seed, [], Counter(), ward.live)
    trials = campaign.trials
    while len(trials) < TABLES or (missing(campaign) and len(trials) < MOST_TABLES):
        if not ward.live or len(trials) % (1 + VARIATIONS) == 0:
            table = routing_table(random, ward.target(), campaign.hits, live=ward.live)
        else:
            table = variation(random, trials[-1].table, ward.target(), campaign.hits)
        down = some_down(random, table) if ward.live else ALL_UP
        sent = choose(random, table, ENVELOPES, campaign.hits, down)
        trials.append(trial(ward, table, sent, down))
    return campaign


def trial(ward: Ward, table: RoutingTable, sent: Sequence[Sent], down: Down = ALL_UP) -> Trial:
    """Send envelopes through one table."""
    files = ward.load(table, down)
    reload = ward.reload
    return Trial(table, files, sent, ward.send(sent), ward.target(), down, reload)


def missing(campaign: Campaign) -> list[str]:
    """Answer what was hit too seldom."""
    names = required(live=campaign.live)
    least = HITS_LIVE if campaign.live else HITS
    return [name for name in names if campaign.hits.get(name, 0) < RARE.get(name, least)]


def disagreements(trials: Sequence[Trial]) -> list[str]:
    """Answer every envelope of which a daemon made something else than `resolve` says."""
    return [line for number, trial in enumerate(trials, 1) for line in _of_trial(number, trial)]


def _of_trial(number: int, trial: Trial) -> Iterator[str]:
    rows = zip(trial.sent, trial.outcome.seen, trial.outcome.bounces, strict=True)
    for sent, seen, bounce in rows:
        wanted = expectation(trial, sent)
        if not wanted.agrees(seen, sent.recipient):
            yield f"table {number}: {sent}\n  resolve: {wanted}\n  smtpd:   {seen}"
        returned = expectation_of_bounce(trial, sent, wanted)
        if not _agrees_on_bounce(returned, bounce, sent.sender):
            yield f"table {number}: bounce of {sent}\n  resolve: {returned}\n  smtpd:   {bounce}"


def expectation(trial: Trial, sent: Sent) -> Expected:
    """Answer what must become of an envelope, or of addresses that no rule ever sees."""
    try:
        envelope = sent.envelope()
    except Undeliverable:
        return Expected(Fate.REFUSED)
    return expected(trial.table, envelope, trial.target.version, trial.down)


def expectation_of_bounce(trial: Trial, sent: Sent, wanted: Expected) -> Expected | None:
    """Answer what must become of the bounce of a message; None where none is made."""
    bounce = bounce_of(sent) if wanted.fate is Fate.RETURNED else None
    if bounce is None:
        return None
    return expected(trial.table, bounce, trial.target.version, trial.down)


def _agrees_on_bounce(wanted: Expected | None, seen: Seen | None, recipient: str) -> bool:
    if wanted is None or wanted.fate in {Fate.REFUSED, Fate.RETURNED}:
        return seen is None  # nobody is told of a bounce that finds no way
    return seen is not None and wanted.agrees(seen, recipient)


@dataclass(frozen=True, slots=True)
class Spread:
    """How the mail of one map of one table fell on its sinks.

    Attributes:
        shares: what each sink should get of it, by the relays that lead there.
        relays: how many relays lead to each sink.
        counts: what each got.
        turns: where each turn of one round leads, where turns may begin anywhere; else empty.
    """

    where: str
    shares: Mapping[str, float]
    relays: Mapping[str, int]
    counts: Mapping[str, int]
    turns: Sequence[str] = ()

    def agrees(self) -> bool:
        """Say whether every sink got its share, to the last unfinished turn."""
        total = sum(self.counts.values())
        if self.turns:
            around = (*self.turns, *self.turns)
            rounds, rest = divmod(total, len(self.turns))
            whole = Counter(list(self.turns) * rounds)
            return any(
                whole + Counter(around[first : first + rest]) == self.counts
                for first in range(len(self.turns))
            )
        return all(
            abs(self.counts.get(sink, 0) - total * share) < self.relays[sink]
            for sink, share in self.shares.items()
        )


def spreads(trials: Sequence[Trial]) -> list[Spread]:
    """Answer the spread of every map that any mail went over."""
    return [spread for number, trial in enumerate(trials, 1) for spread in _spreads(number, trial)]


def _spreads(number: int, trial: Trial) -> Iterator[Spread]:
    counts: dict[str, Counter[str]] = {}
    wanted_of: dict[str, Expected] = {}
    for wanted, seen in _deliveries(trial):
        if wanted.relay_map is not None and seen.delivery is not None:
            counts.setdefault(wanted.relay_map, Counter())[seen.delivery.sink] += 1
            wanted_of[wanted.relay_map] = wanted
    for name, found in counts.items():
        turns = _turns(trial.table.maps[name], wanted_of[name]) if trial.files is None else ()
        if turns is None:
            continue
        shares: dict[str, float] = {}
        relays: Counter[str] = Counter()
        for candidate in wanted_of[name].candidates:
            sink = sinks_of(candidate)[0].name
            relays[sink] += 1
            shares[sink] = shares.get(sink, 0.0) + (candidate.share or 0.0)
        yield Spread(f"table {number}, map {name}", shares, relays, found, turns)


def _turns(relay_map: RelayMap, wanted: Expected) -> Sequence[str] | None:
    """Answer where the turns of a round lead; None for a policy that takes none."""
    names = {one.relay: sinks_of(one)[0].name for one in wanted.candidates}
    relays = [relay for relay in relay_map.relays if relay.name in names]
    if relay_map.policy is Policy.ROUND_ROBIN:
        return [names[relay.name] for relay in relays]
    if relay_map.policy is Policy.RATIO:
        turns = smooth_turns(tuple(relay.weight for relay in relays))
        return [names[relays[place].name] for place in turns]
    return None


def _deliveries(trial: Trial) -> Iterator[tuple[Expected, Seen]]:
    rows = zip(trial.sent, trial.outcome.seen, trial.outcome.bounces, strict=True)
    for sent, seen, bounce in rows:
        wanted = expectation(trial, sent)
        yield wanted, seen
        returned = expectation_of_bounce(trial, sent, wanted)
        if returned is not None and bounce is not None:
            yield returned, bounce


def report(campaign: Campaign) -> list[str]:
    """Answer what was done, and every thing that must be hit with how often it was."""
    fates = Counter(str(seen.fate) for trial in campaign.trials for seen in trial.outcome.seen)
    bounces = sum(b is not None for trial in campaign.trials for b in trial.outcome.bounces)
    seen = ", ".join(f"{n} {fate}" for fate, n in sorted(fates.items()))
    seed = f"seed {campaign.seed}: RELAYMAP_PARITY_SEED={campaign.seed} repeats it"
    summary = (
        f"{campaign.envelopes} envelopes through {len(campaign.trials)} routing tables: {seen};"
        f" {bounces} bounces taken"
    )
    cells = [f"{campaign.hits[name]:4d} {name}" for name in required(live=campaign.live)]
    third = -(-len(cells) // 3)
    rows = (cells[row::third] for row in range(third))
    return [seed, summary, *("".join(f"{cell:34}" for cell in row).rstrip() for row in rows)]
