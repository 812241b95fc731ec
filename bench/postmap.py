"""Postfix's postmap with LMDB, unpacked into a folder and not installed."""

import os
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

_PACKAGES = ("postfix", "postfix-lmdb", "liblmdb0")
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
_MAPS = "lmdb postfix-lmdb.so dict_lmdb_open mkmap_lmdb_open\n"


@dataclass(frozen=True, slots=True)
class Postmap:
    """The program, and what it needs around it."""

    program: Path
    environment: dict[str, str]

    def build(self, source: Path) -> float:
        """Make the LMDB file of a text; seconds of processor time.

        Raises:
            CalledProcessError: it could not.
        """
        before = _children_s()
        subprocess.run([self.program, f"lmdb:{source}"], env=self.environment, check=True)
        return _children_s() - before


def fetched(folder: Path) -> Postmap | None:
    """Fetch it with apt-get(8); None where that does not work, or it does not run."""
    root = folder / "root"
    root.mkdir()
    try:
        _run(["apt-get", "download", *_PACKAGES], folder)
        for package in folder.glob("*.deb"):
            _run(["dpkg", "-x", str(package), str(root)], folder)
        (folder / "main.cf").write_text(_MAIN.format(folder=folder, root=root), "ascii")
        (folder / "dynamicmaps.cf").write_text(_MAPS, "ascii")
        libraries = [root / "usr/lib/postfix", *root.glob("usr/lib/*-linux-gnu")]
        environment = os.environ | {
            "MAIL_CONFIG": str(folder),
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        }
        postmap = Postmap(root / "usr/sbin/postmap", environment)
        (folder / "one").write_text("a.test b\n", "ascii")
        postmap.build(folder / "one")
    except (OSError, subprocess.CalledProcessError):
        return None
    return postmap


def _run(command: list[str], folder: Path) -> None:
    quiet = subprocess.DEVNULL
    subprocess.run(command, cwd=folder, stdout=quiet, stderr=quiet, check=True)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
