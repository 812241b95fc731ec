"""A real systemd as the first process of a container inside a namespace, with our units in it."""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.mta.bed.namespace import WORKSPACE, Inside, Namespace

UNITS = f"{WORKSPACE}/units"
_LIMIT_S = 60
_PAUSE_S = 0.05
_NOTHING = "[Unit]\nDefaultDependencies=no\n"
# Every unit that ours lean on, without what they would start on a whole machine.
_BARE = ("sysinit.target", "basic.target", "shutdown.target", "network.target", "bed.target")
_LOG = f"{WORKSPACE}/systemd.log"
_PRIVATE = re.compile(r"systemd-private-[^/ ]+")

# A control group of its own, so that systemd takes this one for the root of all.
_ENTER = """
set -e
group=$1
for top in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
  if [ -f $top/cgroup.procs ]; then mkdir -p $top/$group; echo $$ >$top/$group/cgroup.procs; fi
done
exec unshare -m -p -C --fork --kill-child --propagation private sh -ec '
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -p /var/lib/opensmtpd/empty
unified=$([ -f /sys/fs/cgroup/cgroup.controllers ] && echo yes || echo no)
umount -R /sys/fs/cgroup
if [ $unified = yes ]; then
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
  mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
  mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
fi
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=other SYSTEMD_UNIT_PATH=UNITS \\
  /lib/systemd/systemd --system --unit=bed.target --show-status=no --log-target=console
'
""".replace("UNITS", UNITS)


class UnitFailed(Exception):
    """A unit did not come to the state waited for."""


@dataclass(slots=True)
class Systemd:
    """The container."""

    namespace: Namespace
    entering: Inside
    group: str

    @classmethod
    def open(cls, namespace: Namespace, units: Mapping[str, str]) -> Self:
        """Start systemd with these units, texts by file name, and nothing running but itself."""
        for name, text in [*((name, _NOTHING) for name in _BARE), *units.items()]:
            path = namespace.outside(f"{UNITS}/{name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        group = f"bed-{os.getpid()}-{time.monotonic_ns()}"
        with namespace.outside(_LOG).open("ab") as log:
            argv = ["sh", "-c", _ENTER, "sh", group]
            entering = namespace.popen(argv, stdout=log, stderr=log)
        systemd = cls(namespace, entering, group)
        systemd.until(lambda: systemd.ctl("is-active", "bed.target") == "active")
        return systemd

    def close(self) -> None:
        """End it and all that it started, and remove what it made outside the container."""
        own = [*self._private_tmp()]
        self.entering.send(signal.SIGKILL)  # unshare(1) waits through any other
        self.entering.wait()
        limit = time.monotonic() + _LIMIT_S
        for root in self._groups():
            for path in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
                _remove_group(path, limit)
            if root.is_dir():
                _remove_group(root, limit)
        for path in own:
            if path.exists():  # systemd removes it with the unit
                shutil.rmtree(path)

    def ctl(self, *words: str) -> str:
        """What systemctl answers."""
        return self.run("systemctl", *words)

    def run(self, *argv: str) -> str:
        """What a command in the container prints; nothing before systemd is there."""
        found = self._first_process()
        if found is None:
            return ""
        enter = ["nsenter", f"--target={found}", "-m", "-p", "-C", "-r"]
        return self.namespace.run([*enter, *argv], check=False).stdout.strip()

    def shown(self, unit: str, what: str) -> str:
        """One property of a unit."""
        return self.ctl("show", "--value", f"--property={what}", unit)

    def start(self, unit: str) -> None:
        """Start a unit and wait until it is active. Raises UnitFailed."""
        self.ctl("start", unit)
        if self.ctl("is-active", unit) != "active":
            raise UnitFailed(f"{self.ctl('status', unit)}\n{self.log()[-2000:]}")

    def log(self) -> str:
        """What systemd said."""
        return self.namespace.outside(_LOG).read_text("utf-8", "replace")

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait for a state. Raises UnitFailed."""
        limit = time.monotonic() + _LIMIT_S
        while not reached():
            if self.entering.poll() is not None or time.monotonic() > limit:
                raise UnitFailed(self.log()[-2000:])
            time.sleep(_PAUSE_S)

    def _first_process(self) -> str | None:
        """The pid of systemd, as the namespace sees it; in its own, inside that, it is 1."""
        here = Path(f"/proc/{self.namespace.pid}/ns/net").readlink()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "ns/net").readlink() != here:
                    continue
                status = (process / "status").read_text("utf-8")
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # over by now, or of another container
            facts = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
            seen_as = facts["NSpid"].split()
            if facts["Name"].strip() == "systemd" and seen_as[-1] == "1":
                return seen_as[-2]
        return None

    def _private_tmp(self) -> Iterator[Path]:
        """What PrivateTmp= made for units that run: /tmp is the same one in every container."""
        listed = (path for root in self._groups() for path in root.rglob("cgroup.procs"))
        pids = {pid for path in listed for pid in _read(path).split()}
        seen = (_PRIVATE.findall(_read(Path(f"/proc/{pid}/mountinfo"))) for pid in pids)
        names = {name for found in seen for name in found}
        for top in ("/tmp", "/var/tmp"):
            yield from (path for path in (Path(top, name) for name in names) if path.is_dir())

    def _groups(self) -> list[Path]:
        """The control groups of this container, of either version."""
        tops = ("systemd", "unified", ".")
        return [Path("/sys/fs/cgroup", top, self.group) for top in tops]


def _read(path: Path) -> str:
    """What a file of the kernel says; nothing where a unit, or a process of it, is over by now."""
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""


def _remove_group(path: Path, limit: float) -> None:
    """Remove a control group as soon as the processes that were killed in it are gone."""
    while True:
        try:
            path.rmdir()
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
