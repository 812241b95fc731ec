"""Many mail addresses at once, of the form that most have: read together, at a part of the cost.

What is said of one address is said of all by one call, so that no step is taken for each.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter

LOCAL = "[A-Za-z0-9_+=-][A-Za-z0-9_+=.-]{0,63}+"
DOMAIN = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}+"
"""An ordinary address is these two with '@' between, where no two dots and no dot and '@' stand
together and no dot ends it."""
_ORDINARY = re.compile(rf"(?:(?:{LOCAL}@{DOMAIN})?\n)*+")
_MISPLACED = re.compile(r"\.[.@\n]")
_REST = itemgetter(2)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Mail addresses of the ordinary form, in columns; "" is the null sender.

    Attributes:
        written: as they were given.
        folded: in lower case.
        domains: of each its domain, in lower case; "" of the null sender.
    """

    written: Sequence[str]
    folded: Sequence[str]
    domains: Sequence[str]

    def part(self, start: int, end: int) -> "Addresses":
        """Some of them, as of a slice."""
        parts = (column[start:end] for column in (self.written, self.folded, self.domains))
        return Addresses(*parts)

    def spelling(self, number: int) -> str:
        """See `MailAddress.spelling`."""
        written = self.written[number]
        return f"{written[: written.find('@')]}@{self.domains[number]}" if written else ""


def ordinary_addresses(texts: Sequence[str]) -> Addresses | None:
    """All of these addresses; None where one of them is not of that form, or no address."""
    lines = "\n".join((*texts, ""))
    is_ordinary = _ORDINARY.fullmatch(lines) and not _MISPLACED.search(lines)
    if not is_ordinary or lines.count("\n") != len(texts):
        return None
    lower = lines.lower()
    folded = texts if lower == lines else lower.split("\n")[:-1]
    if lower.count("@") == len(texts):  # no null sender: to cut all at once takes less
        return Addresses(texts, folded, lower.replace("@", "\n").split("\n")[1::2])
    return Addresses(texts, folded, behind("@", folded))


def behind(mark: str, texts: Iterable[str]) -> list[str]:
    """What stands behind the first such mark of each text; "" where there is none."""
    return list(map(_REST, map(str.partition, texts, repeat(mark))))
