"""Interleaved rounds: every contender runs in turn, and the medians are compared.

The machine's noise then falls on all alike; a single figure of one contender means little.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured comparison.

    Attributes:
        name: what was measured.
        unit: of the medians.
        medians: by contender; the last one is what the others are compared with.
    """

    name: str
    unit: str
    medians: Mapping[str, float]

    def ratio(self, contender: str) -> float:
        """How many times the cost of the last contender this one had."""
        return self.medians[contender] / self.medians[list(self.medians)[-1]]

    def lines(self) -> Sequence[str]:
        """The figure as text, a line for each contender."""
        yardstick = list(self.medians)[-1]
        width = max(map(len, self.medians))
        out = [f"{self.name} ({self.unit}, medians of {ROUNDS} interleaved rounds)"]
        for contender, median in self.medians.items():
            against = "" if contender == yardstick else f"   {self.ratio(contender):7.2f} x"
            out.append(f"  {contender:<{width}} {median:12.2f}{against}")
        return out


def interleave(
    name: str, unit: str, contenders: Mapping[str, Callable[[], float]], rounds: int = ROUNDS
) -> Figure:
    """Run each contender once a round, in turn, after one round that does not count."""
    for run in contenders.values():
        run()
    samples: dict[str, list[float]] = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender, run in contenders.items():
            samples[contender].append(run())
    return Figure(name, unit, {c: statistics.median(found) for c, found in samples.items()})
