"""What strace(1) saw an agent do to the disk, and whether a power cut could have torn it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

CHANGES = (
    *("write", "pwrite64", "fallocate", "ftruncate", "fsync", "fdatasync"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir"),
    *("symlink", "symlinkat", "link", "linkat", "mkdir", "mkdirat"),
)
"""Every call that changes what a disk holds."""
STARTS = ("fork", "vfork", "clone", "clone3")
_LINE = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")


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


@dataclass(slots=True)
class Disk:
    """What of a state directory a power cut might take, as its calls follow one another.

    Attributes:
        contents: files that were written to since they were last synced.
        names: what was named, or whose name was removed, since its directory was last synced.
        early: what was relied on too early.
    """

    state_dir: PurePath
    contents: set[PurePath] = field(default_factory=set)
    names: set[PurePath] = field(default_factory=set)
    early: list[str] = field(default_factory=list)
    switches: int = 0

    @classmethod
    def after(cls, log: Sequence[str], state_dir: str) -> "Disk":
        """Follow a log of `CHANGES`, `STARTS` and openat to its end."""
        disk = cls(PurePath(state_dir))
        for call in calls(log):
            if call.answer >= 0:
                disk.follow(call)
        disk.rely("all ends", disk.contents | disk.names)
        return disk

    def follow(self, call: Call) -> None:
        """Take note of one call."""
        paths = [path for path in _paths(call) if self._matters(path)]
        if call.name in STARTS:
            self.rely("a program is started", self.contents | self.names)
        elif not paths:
            return
        elif call.name.startswith("rename"):
            self._rename(*paths)
        elif call.name.startswith(("unlink", "rmdir")):
            self._remove(paths[0])
        elif call.name in {"fsync", "fdatasync"}:
            self.contents.discard(paths[0])
            self.names -= {name for name in self.names if name.parent == paths[0]}
        elif call.name in {"write", "pwrite64", "fallocate", "ftruncate"}:
            self.contents.add(paths[0])
        elif call.name != "openat" or "O_EXCL" in call.arguments:
            self.names.add(paths[-1])

    def rely(self, what: str, on: set[PurePath]) -> None:
        """Note what is not on the disk yet at a moment that relies on its being there."""
        self.early += [f"{what} before {path} is synced" for path in sorted(on)]

    def _rename(self, old: PurePath, new: PurePath) -> None:
        unsynced = self.contents | (self.names - {old})
        if new == self.state_dir / "live":
            self.switches += 1
        else:  # what is named in one directory comes there by one sync, all or nothing of use
            unsynced -= {name for name in self.names if name.parent == new.parent} - self.contents
        self.rely(f"{new} is named", unsynced)
        self.names = self.names - {old} | {new}

    def _remove(self, path: PurePath) -> None:
        was_synced = path not in self.names
        self.contents.discard(path)
        self.names.discard(path)
        if self.state_dir / "generations" in path.parents:
            self.rely(f"{path} is removed", self.contents | self.names)
        elif was_synced:
            self.names.add(path)

    def _matters(self, path: PurePath) -> bool:
        """Whether it is in the state directory, and not what a recovery throws away anyway."""
        scratch = {self.state_dir / "check", self.state_dir / "spare"}
        above = {path, *path.parents}
        return self.state_dir in above and scratch.isdisjoint(above)


def _paths(call: Call) -> list[PurePath]:
    """The paths among the arguments; one relative to a descriptor is joined to its path."""
    opened = [PurePath(path) for path in re.findall(r"\d<([^>]*)>", call.arguments)]
    named = [PurePath(text) for text in re.findall(r'"([^"]*)"', call.arguments)]
    if call.name.startswith("symlink"):
        return named[1:]
    if call.name in {"unlinkat", "openat", "mkdirat", "renameat", "renameat2"}:
        # With AT_FDCWD every path of ours is absolute.
        return [(opened[0] if opened else PurePath("/")) / path for path in named]
    return named if call.name in {"rename", "unlink", "rmdir", "mkdir", "link"} else opened
