"""Interleaved rounds: every contender runs in turn, and the medians are compared.

The machine's noise then falls on all alike; a single figure of one contender means little.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Limit:
    """What a contender may cost at most; None is no limit.

    Attributes:
        times: as often as the yardstick.
        more: over the yardstick, in the unit of the figure.
        at_most: in the unit of the figure.
    """

    times: float | None = None
    more: float | None = None
    at_most: float | None = None

    def judged(self, cost: float, yardstick: float) -> str:
        """The limits as text, and which of them are missed."""
        pairs = (
            (self.times, cost / yardstick, "{} x"),
            (self.more, cost - yardstick, "+ {}"),
            (self.at_most, cost, "{}"),
        )
        return "; ".join(
            f"at most {form.format(f'{most:g}')}{'' if found <= most else ' MISSED'}"
            for most, found, form in pairs
            if most is not None
        )


NO_LIMITS: Mapping[str, Limit] = {}


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
    limits: Mapping[str, Limit] = field(default_factory=dict)
    rounds: int = ROUNDS
    notes: Sequence[str] = ()

    def ratio(self, contender: str) -> float:
        """How many times the cost of the last contender this one had."""
        return self.medians[contender] / self.medians[list(self.medians)[-1]]

    def noting(self, *notes: str) -> Self:
        """The figure with lines that say more."""
        return replace(self, notes=notes)

    def lines(self) -> Sequence[str]:
        """The figure as text, a line for each contender."""
        yardstick = list(self.medians)[-1]
        width = max(map(len, self.medians))
        out = [f"{self.name} ({self.unit}, medians of {self.rounds} interleaved rounds)"]
        for contender, median in self.medians.items():
            line = f"  {contender:<{width}} {median:12.{3 if median < 1 else 2}f}"
            if contender != yardstick:
                digits = 4 if self.ratio(contender) < 0.1 else 2
                line += f"   {self.ratio(contender):7.{digits}f} x"
                line += f"  {median - self.medians[yardstick]:+.2f}"
            if contender in self.limits:
                judged = self.limits[contender].judged(median, self.medians[yardstick])
                line += f"   ({judged})"
            out.append(line)
        return [*out, *(f"  {note}" for note in self.notes)]


def interleave(
    name: str,
    unit: str,
    contenders: Mapping[str, Callable[[], float]],
    rounds: int = ROUNDS,
    limits: Mapping[str, Limit] = NO_LIMITS,
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
