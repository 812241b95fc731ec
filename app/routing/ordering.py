"""Sorting millions of texts without standing still: many small sorts in place of a long one."""

from bisect import bisect_right
from collections.abc import Sequence

_SLICE = 4_096
"""Texts that one sort takes: some milliseconds, in which no other thread runs."""


def in_order(texts: Sequence[str]) -> list[str]:
    """The texts, sorted by code points.

    `list.sort` lets no other thread run before it is done, which for a million is a second.
    """
    if len(texts) <= 2 * _SLICE:
        return sorted(texts)
    count = len(texts) // _SLICE
    sample = sorted(texts[:: max(len(texts) // (8 * count), 1)][: 16 * count])
    borders = sample[:: max(len(sample) // count, 1)][1:]
    parts: list[list[str]] = [[] for _ in range(len(borders) + 1)]
    for text in texts:
        parts[bisect_right(borders, text)].append(text)
    ordered: list[str] = []
    for part in parts:
        # A part as large as the whole has nothing but equal texts, or none that the sample told.
        ordered += sorted(part) if len(part) == len(texts) else in_order(part)
        part.clear()
    return ordered
