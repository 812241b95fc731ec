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
MISPLACED = re.compile(r"\.[.@\n\"]")
"""A dot where none may be: found in a text of addresses that a newline or a quote ends."""
_REST = itemgetter(2)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Mail addresses of the ordinary form, in columns; the null sender is "" in both.

    Attributes:
        locals: what stands before the '@', as it was given.
        domains: what stands behind it, in lower case.
    """

    locals: Sequence[str]
    domains: Sequence[str]

    def __len__(self) -> int:
        """How many they are."""
        return len(self.domains)

    def part(self, start: int, end: int) -> "Addresses":
        """Some of them, as of a slice."""
        return Addresses(self.locals[start:end], self.domains[start:end])

    def spelling(self, number: int) -> str:
        """See `MailAddress.spelling`."""
        domain = self.domains[number]
        return f"{self.locals[number]}@{domain}" if domain else ""

    def folded(self) -> list[str]:
        """Each in lower case; "" for the null sender."""
        both = zip(self.locals, self.domains, strict=True)
        return [f"{local.lower()}@{domain}" if domain else "" for local, domain in both]


def ordinary_addresses(texts: Sequence[str]) -> Addresses | None:
    """All of these addresses; None where one of them is not of that form, or no address."""
    lines = "\n".join((*texts, ""))
    is_ordinary = _ORDINARY.fullmatch(lines) and not MISPLACED.search(lines)
    if not is_ordinary or lines.count("\n") != len(texts):
        return None
    locals_ = [text.partition("@")[0] for text in texts]
    return Addresses(locals_, behind("@", lines.lower().split("\n")[:-1]))


def behind(mark: str, texts: Iterable[str]) -> list[str]:
    """What stands behind the first such mark of each text; "" where there is none."""
    return list(map(_REST, map(str.partition, texts, repeat(mark))))
