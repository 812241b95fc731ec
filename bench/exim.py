"""Exim that says, as root, where addresses would go: `exim4 -bt`, unpacked and not installed."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.unpacked import NotFetched, Root, unpacked

_PACKAGES = ("exim4-daemon-light", "exim4-base", "libidn12")
_USER = "Debian-exim:x:998:998::/:/bin/false\n"
_GROUP = "Debian-exim:x:998:\n"
_CONFIGURATION = """\
exim_user = root
exim_group = root
never_users =
primary_hostname = bench.example
spool_directory = {folder}/spool
log_file_path = {folder}/log-%s
begin routers
by_domain:
  driver = manualroute
  domains = cdb;{map}
  route_data = $domain_data
  transport = out
begin transports
out:
  driver = smtp
"""


@dataclass(frozen=True, slots=True)
class Exim:
    """The program, in a namespace of its own that knows its user.

    Attributes:
        folder: of its configuration.
    """

    root: Root
    folder: Path

    def query(self, addresses: bytes) -> bytes:
        """What `exim4 -bt` prints for these addresses, a line each."""
        program, folder = self.root.program("exim4"), self.folder
        script = (
            f"mount --bind {folder}/passwd /etc/passwd && mount --bind {folder}/group /etc/group"
            f" && exec {program} -C {folder}/exim.conf -bt"
        )
        command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script]
        run = subprocess.run(
            command,
            input=addresses,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.root.environment(),
            check=False,  # 1 says that one of them has no route
        )
        return run.stdout


def fetched(folder: Path, cdb: Path) -> Exim | None:
    """Exim on a cdb of domains and hosts; None where it cannot be had, or does not run."""
    try:
        root = unpacked(*_PACKAGES)
        for name, more in (("passwd", _USER), ("group", _GROUP)):
            (folder / name).write_text(Path("/etc", name).read_text("utf-8") + more, "utf-8")
        configuration = folder / "exim.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder, map=cdb), "ascii")
        configuration.chmod(0o644)
        exim = Exim(root, folder)
        return exim if exim.query(b"u@nowhere.invalid\n") else None
    except (OSError, NotFetched):
        return None
