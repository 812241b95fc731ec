"""Postfix's postmap with LMDB and cdb, unpacked into a folder and not installed."""

import resource
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.unpacked import NotFetched, unpacked

_PACKAGES = ("postfix", "postfix-lmdb", "postfix-cdb", "liblmdb0", "libcdb1")
_MAIN = """\
meta_directory = {folder}
shlib_directory = {root}/usr/lib/postfix
mail_owner = daemon
setgid_group = tty
default_privs = nobody
myhostname = bench.example
lmdb_map_size = 4294967296
compatibility_level = 3.6
"""
_MAPS = """\
lmdb postfix-lmdb.so dict_lmdb_open mkmap_lmdb_open
cdb postfix-cdb.so dict_cdb_open mkmap_cdb_open
"""


@dataclass(frozen=True, slots=True)
class Postmap:
    """The program, and what it needs around it."""

    program: Path
    environment: dict[str, str]

    def build(self, source: Path, kind: str = "lmdb") -> float:
        """Make the LMDB or cdb file of a text; seconds of processor time.

        Raises:
            CalledProcessError: it could not.
        """
        before = children_s()
        subprocess.run([self.program, f"{kind}:{source}"], env=self.environment, check=True)
        return children_s() - before

    def query(self, source: Path, keys: bytes, kind: str = "lmdb") -> bytes:
        """What `postmap -q -` prints for these keys, a line each.

        Raises:
            CalledProcessError: it could not, or none of them is there.
        """
        command: Sequence[str | Path] = [self.program, "-q", "-", f"{kind}:{source}"]
        run = subprocess.run(
            command, input=keys, stdout=subprocess.PIPE, env=self.environment, check=True
        )
        return run.stdout


def fetched(folder: Path) -> Postmap | None:
    """Fetch it, with its configuration in `folder`; None where it cannot be had, or does not run."""
    try:
        root = unpacked(*_PACKAGES)
        (folder / "main.cf").write_text(_MAIN.format(folder=folder, root=root.path), "ascii")
        (folder / "dynamicmaps.cf").write_text(_MAPS, "ascii")
        environment = root.environment() | {"MAIL_CONFIG": str(folder)}
        postmap = Postmap(root.program("postmap"), environment)
        (folder / "one").write_text("a.test b\n", "ascii")
        for kind in ("lmdb", "cdb"):
            postmap.build(folder / "one", kind)
    except (OSError, NotFetched, subprocess.CalledProcessError):
        return None
    return postmap


def children_s() -> float:
    """Processor time of the programs that ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
