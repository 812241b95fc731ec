"""What strace(1) saw an agent do to the disk."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CHANGES = (
    *("write", "pwrite64", "fallocate", "ftruncate", "fsync", "fdatasync"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir"),
    *("symlink", "symlinkat", "link", "linkat", "mkdir", "mkdirat"),
)
"""Every call that changes what a disk holds."""
_LINE = re.compile(r"(\w+)\((.*)\) += (-?\d+)")


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its arguments as strace writes them with -y, and what it answered."""

    name: str
    arguments: str
    answer: int


def calls(log: Sequence[str]) -> Iterator[Call]:
    """The calls of a log, also those that failed."""
    for line in log:
        found = _LINE.match(line)
        if found is not None:
            yield Call(found[1], found[2], int(found[3]))
