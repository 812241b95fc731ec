"""Peers from Debian's packages, unpacked beside the environment and not installed.

They are fetched once with apt-get(8) and kept in `.peers` of the environment.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

_KEPT = Path(sys.prefix) / ".peers"
_NAMED = {"postfix": "Postfix", "exim4-daemon-light": "Exim", "haproxy": "HAProxy"}


class NotFetched(Exception):
    """The packages cannot be had here."""


@dataclass(frozen=True, slots=True)
class Root:
    """Where packages are unpacked to.

    Attributes:
        path: what would be "/".
    """

    path: Path

    def program(self, name: str) -> Path:
        """The path of a program.

        Raises:
            NotFetched: it is not there.
        """
        for place in ("usr/sbin", "usr/bin"):
            if (found := self.path / place / name).exists():
                return found
        raise NotFetched(name)

    def environment(self) -> dict[str, str]:
        """The environment of its programs: their libraries are found here."""
        libraries = [self.path / "usr/lib/postfix", *self.path.glob("usr/lib/*-linux-gnu")]
        return os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))}


def unpacked(*packages: str) -> Root:
    """The packages, fetched where they are not there yet.

    Raises:
        NotFetched: they cannot be had.
    """
    folder = _KEPT / packages[0]
    root = folder / "root"
    if not (folder / "complete").exists():
        root.mkdir(parents=True, exist_ok=True)
        try:
            _run(["apt-get", "download", *packages], folder)
            for package in folder.glob("*.deb"):
                _run(["dpkg", "-x", str(package), str(root)], folder)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NotFetched(f"{packages[0]} cannot be fetched with apt-get") from error
        (folder / "complete").touch()
    return Root(root)


def versions_of_peers() -> Mapping[str, str]:
    """The version of each peer that was fetched."""
    found = {}
    for package, name in _NAMED.items():
        for file in (_KEPT / package).glob(f"{package}_*.deb"):
            found[name] = re.sub(r"^\d+:", "", unquote(file.name.split("_")[1]))
    return found


def _run(command: list[str], folder: Path) -> None:
    quiet = subprocess.DEVNULL
    subprocess.run(command, cwd=folder, stdout=quiet, stderr=quiet, check=True)
