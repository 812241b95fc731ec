"""Programs started as smtpd starts them, and what they say of themselves."""

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from app.agent.program import wrapper
from app.table_program.handover import address_of, parent_of
from tests.unit.table_program import asking

_ROOT = Path(__file__).parents[3]


class Smtpd:
    """What starts programs as smtpd does: one descriptor both ways, its own pid for all of them."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.programs: list[int] = []
        self.links: list[socket.socket] = []

    def start(self, table: str, uid: int = 0) -> asking.Frames:
        """Start a program, and wait until it answers for a table."""
        ours, theirs = socket.socketpair()
        made = os.fork()
        if made == 0:
            if uid:
                os.setuid(uid)
            os.dup2(theirs.fileno(), 0)
            os.dup2(theirs.fileno(), 1)
            script, config = self.state_dir / "program", str(asking.walk_file(self.state_dir))
            script.write_text(wrapper(Path(sys.executable), _ROOT), "ascii")
            os.execv(sys.executable, [sys.executable, "-IS", str(script), config])
        theirs.close()
        self.programs.append(made)
        self.links.append(ours)
        return asking.Frames(table, ours)

    def ends(self, number: int) -> int:
        """Wait for the end of a program; its status."""
        return os.waitstatus_to_exitcode(os.waitpid(self.programs.pop(number), 0)[1])

    def close(self) -> list[int]:
        """Go, as smtpd goes; how each program ended."""
        for link in self.links:
            link.close()
        return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.programs]

    @property
    def address(self) -> Path:
        """Where its program listens."""
        return Path(address_of(str(asking.walk_file(self.state_dir)), os.getpid()))

    def status(self) -> dict[str, Any]:
        """What its program says of itself."""
        while True:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.connect(str(self.address))
                with contextlib.suppress(OSError):  # who was asked is killed: ask the next one
                    link.sendall(b"status\n")
                    with link.makefile("rb") as lines:
                        if line := lines.readline():
                            found: dict[str, Any] = json.loads(line)
                            return found

    def pids(self) -> tuple[int, int]:
        """The process that answers, and the one that keeps."""
        while True:
            answers = int(self.status()["pid"])
            if (keeps := parent_of(answers)) > 1:
                return answers, keeps

    def kill(self, *pids: int) -> None:
        """Kill processes of the program at the same moment."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
