"""Interleaved rounds: every contender runs in turn, and the medians are compared.

The machine's noise then falls on all alike; a single figure of one contender means little.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Self

ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Limit:
    """What a contender may cost at most, or has to cost at least; None is no limit.

    Attributes:
        times: as often as the yardstick.
        more: over the yardstick, in the unit of the figure.
        at_most: in the unit of the figure.
        least_times: as often as the yardstick, at least: for rates, and for what must be slower.
        against: the contender that is the yardstick of this limit; None: the figure's own.
        goal: what is hoped for beyond the limit, in words.
    """

    times: float | None = None
    more: float | None = None
    at_most: float | None = None
    least_times: float | None = None
    against: str | None = None
    goal: str = ""

    def verdicts(self, cost: float, yardstick: float) -> Sequence["Verdict"]:
        """Each limit as text, and whether it is met."""
        bounds = (
            (self.times, cost / yardstick, "at most {} x"),
            (self.more, cost - yardstick, "at most + {}"),
            (self.at_most, cost, "at most {}"),
        )
        found = [
            Verdict(self._words(form, most), seen, seen <= most)
            for most, seen, form in bounds
            if most is not None
        ]
        if self.least_times is not None:
            seen = cost / yardstick
            words = self._words("at least {} x", self.least_times)
            found.append(Verdict(words, seen, seen >= self.least_times))
        return found

    def _words(self, form: str, bound: float) -> str:
        words = form.format(f"{bound:g}")
        if self.against is not None:
            words += f" {self.against}"
        return f"{words}, goal {self.goal}" if self.goal else words


@dataclass(frozen=True, slots=True)
class Verdict:
    """One limit, and how it stands.

    Attributes:
        limit: in words.
        found: what it is held against.
    """

    limit: str
    found: float
    met: bool

    def text(self) -> str:
        """In a few words."""
        return self.limit if self.met else f"{self.limit} MISSED"


Limits = Limit | Sequence[Limit]
NO_LIMITS: Mapping[str, Limits] = {}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured comparison.

    Attributes:
        name: what was measured.
        unit: of the medians.
        medians: by contender; the last one is what the others are compared with.
        limits: by contender.
        rounds: that the medians are of.
        notes: lines that say more.
    """

    name: str
    unit: str
    medians: Mapping[str, float]
    limits: Mapping[str, Limits] = field(default_factory=dict)
    rounds: int = ROUNDS
    notes: Sequence[str] = ()

    def ratio(self, contender: str, against: str | None = None) -> float:
        """How many times the cost of the last contender, or of another one, this one had."""
        return self.medians[contender] / self.medians[against or list(self.medians)[-1]]

    def noting(self, *notes: str) -> Self:
        """The figure with lines that say more."""
        return replace(self, notes=notes)

    def verdicts(self, contender: str) -> Sequence[Verdict]:
        """How a contender stands against its limits."""
        given = self.limits.get(contender, ())
        return [
            verdict
            for limit in ((given,) if isinstance(given, Limit) else given)
            for verdict in limit.verdicts(
                self.medians[contender], self.medians[limit.against or list(self.medians)[-1]]
            )
        ]

    @property
    def met(self) -> bool:
        """Whether no limit is missed."""
        return all(verdict.met for each in self.medians for verdict in self.verdicts(each))

    def lines(self) -> Sequence[str]:
        """The figure as text, a line for each contender."""
        yardstick = list(self.medians)[-1]
        width = max(map(len, self.medians))
        out = [f"{self.name} ({self.unit}, {self.way})"]
        for contender, median in self.medians.items():
            line = f"  {contender:<{width}} {median:12.{3 if median < 1 else 2}f}"
            if contender != yardstick:
                line += f"   {_spelt(self.ratio(contender)):>7} x"
                line += f"  {median - self.medians[yardstick]:+.2f}"
            if verdicts := self.verdicts(contender):
                line += f"   ({'; '.join(verdict.text() for verdict in verdicts)})"
            out.append(line)
        return [*out, *(f"  {note}" for note in self.notes)]

    @property
    def way(self) -> str:
        """How often it was measured."""
        return "once" if self.rounds == 1 else f"medians of {self.rounds} interleaved rounds"

    def document(self) -> dict[str, object]:
        """The figure as JSON has it."""
        return {
            "name": self.name,
            "unit": self.unit,
            "rounds": self.rounds,
            "met": self.met,
            "contenders": [
                {
                    "name": contender,
                    "median": median,
                    "ratio": self.ratio(contender),
                    "limits": [asdict(verdict) for verdict in self.verdicts(contender)],
                }
                for contender, median in self.medians.items()
            ],
            "notes": list(self.notes),
        }


def _spelt(ratio: float) -> str:
    return f"{ratio:.{4 if ratio < 0.1 else 2}f}"


def interleave(
    name: str,
    unit: str,
    contenders: Mapping[str, Callable[[], float]],
    rounds: int = ROUNDS,
    limits: Mapping[str, Limits] = NO_LIMITS,
) -> Figure:
    """Run each contender once a round, in turn, after one round that does not count."""
    for run in contenders.values():
        run()
    samples: dict[str, list[float]] = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender, run in contenders.items():
            samples[contender].append(run())
    medians = {contender: statistics.median(found) for contender, found in samples.items()}
    return Figure(name, unit, medians, limits, rounds)
