"""The table program: put where smtpd looks for it, and asked what it reads."""

import asyncio
import json
import stat
from dataclasses import dataclass
from pathlib import Path

from app.agent import durable
from app.agent.process import Identity
from app.routing.errors import ControlError
from app.routing.live_file import Meta

NAME = "table-relaymap"
PLACES = ("/usr/libexec/opensmtpd", "/usr/local/libexec/opensmtpd", "/usr/lib/opensmtpd")
"""Where builds of smtpd look for programs; which of them is fixed when it is built."""
_ASK_LIMIT_S = 5.0
_MAX_LINE = 1 << 20


def installed() -> Path | None:
    """The program where smtpd would find it; None where it is not installed."""
    paths = (Path(place, NAME) for place in PLACES)
    return next((path for path in paths if path.is_file()), None)


_WRAPPER = """\
#!{python} -IS
# What smtpd starts for each table of Relaymap's; written by "relaymap table-program install".
import sys

sys.path.insert(0, {root!r})
from app.table_program.handover import hand_over

hand_over(sys.argv[1])
import site

site.main()
from app.table_program.main import main

main()
"""


def wrapper(python: Path, root: Path) -> str:
    """The program as smtpd starts it.

    Args:
        python: the interpreter.
        root: the directory that holds our package.
    """
    return _WRAPPER.format(python=python, root=str(root))


class CannotInstall(ControlError):
    """The user of smtpd would not get to the program, or to what it imports."""

    code = "cannot-install"


def install(place: Path, python: Path, root: Path) -> Path:
    """Put the program where smtpd looks for it.

    Args:
        place: the directory of smtpd's programs.
        python: the interpreter that has our packages.
        root: the directory that holds our package.

    Raises:
        CannotInstall: smtpd's user may not read what it takes.
        OSError: it cannot be written.
    """
    if not place.is_dir():
        raise CannotInstall(f"there is no directory {place}: is OpenSMTPD installed?")
    for path in (python, python.resolve(), root / "app" / "routing"):
        shut = [each for each in (path, *path.parents) if not each.stat().st_mode & stat.S_IXOTH]
        if shut:
            raise CannotInstall(
                f"smtpd's user cannot get to {path}, since {shut[-1]} is not open to others;"
                " install Relaymap below /opt, or open that directory"
            )
    target = place / NAME
    durable.replace(target, wrapper(python, root).encode(), 0o755)
    return target


@dataclass(frozen=True, slots=True)
class Said:
    """What a table program said.

    Attributes:
        pid: of it.
        smtpd: the pid of the smtpd that it answers.
        trouble: why it cannot read the live file; "" where it can.
    """

    pid: int
    smtpd: int
    config: str
    history: str = ""
    revision: int = 0
    model_digest: str = ""
    writes: int = 0
    trouble: str = ""

    def reads(self, meta: Meta) -> bool:
        """Whether it answers from just this revision."""
        return not self.trouble and (self.history, self.revision, self.model_digest) == (
            meta.history,
            meta.revision,
            meta.model_digest,
        )


def places(room: Path, smtpd: Identity) -> list[Path]:
    """Where programs of this smtpd listen, or did: the names say so, and need no look at /proc."""
    return sorted(room.glob(f"{smtpd.pid}.*.sock"))


async def ask(room: Path, smtpd: Identity) -> Said | None:
    """What the program of this smtpd says; None where none answers."""
    # Who is asked may be killed just then, and another one goes on.
    for path in 2 * await asyncio.to_thread(places, room, smtpd):
        try:
            async with asyncio.timeout(_ASK_LIMIT_S):
                said = await _ask(path)
        except TimeoutError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if said.smtpd == smtpd.pid:
            return said
    return None


async def _ask(path: Path) -> Said:
    reader, writer = await asyncio.open_unix_connection(path, limit=_MAX_LINE)
    try:
        writer.write(b"status\n")
        said = json.loads(await reader.readline())
    finally:
        writer.close()
    known = Said.__dataclass_fields__.keys()
    return Said(**{name: value for name, value in said.items() if name in known})
