"""One process for all tables: real programs hand over to the first, wait, and end with smtpd."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from app.table_program.handover import address_of
from tests.unit.routing.making import routing
from tests.unit.table_program import asking

pytestmark = pytest.mark.io

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[2])
from app.table_program.handover import hand_over
hand_over(sys.argv[1])
import site
site.main()
from app.table_program.main import main
main()
"""
ROUTING = {"maps": {"a": {"policy": "failover", "relays": ["smtp://192.0.2.1"]}}}


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
            config = str(asking.walk_file(self.state_dir))
            os.execv(sys.executable, [sys.executable, "-I", "-c", PROGRAM, config, str(ROOT)])
        theirs.close()
        self.programs.append(made)
        self.links.append(ours)
        return asking.Frames(table, ours)

    def waits(self, number: int) -> None:
        """Wait until a program is what only waits: it is answered for before it is."""
        while name_of(self.programs[number]) != "cat":
            time.sleep(0.01)

    def close(self) -> list[int]:
        """Go, as smtpd goes; how each program ended."""
        for link in self.links:
            link.close()
        return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.programs]


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


@pytest.fixture
def smtpd(tmp_path: Path) -> Smtpd:
    asking.write(tmp_path, asking.content(routing(ROUTING)))
    return Smtpd(tmp_path)


def sockets(where: Path) -> list[str]:
    return sorted(path.name for path in (where / "data/run").iterdir())


def test_the_first_serves_all_and_all_end_with_smtpd(smtpd: Smtpd) -> None:
    first, second, third = (smtpd.start(f"rm-map-{name}") for name in ("a", "b", "a"))
    assert first.ask("lookup", "relayhost", "x.test") == "smtp://192.0.2.1:25"
    assert second.ask("lookup", "relayhost", "x.test") is False
    assert third.ask("lookup", "relayhost", "x.test") == "smtp://192.0.2.1:25"
    smtpd.waits(1)
    smtpd.waits(2)
    assert name_of(smtpd.programs[0]).startswith("python")
    assert sockets(smtpd.state_dir) == [f"{os.getpid()}.sock"]
    assert smtpd.close() == [0, 0, 0]
    assert sockets(smtpd.state_dir) == []


def test_where_the_first_is_killed_all_end(smtpd: Smtpd) -> None:
    """smtpd sees each of its tables closed, and ends; nobody waits for what never comes."""
    smtpd.start("rm-map-a")
    second = smtpd.start("rm-map-a")
    os.kill(smtpd.programs[0], signal.SIGKILL)
    assert second.link.recv(1) == b""
    assert smtpd.close() == [-signal.SIGKILL, 0]


def test_a_socket_that_was_left_is_no_obstacle(smtpd: Smtpd) -> None:
    own = Path(address_of(str(asking.walk_file(smtpd.state_dir)), os.getpid()))
    for left in (own, own.with_name("4194305.sock")):  # more than a pid can be
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(left))
    assert smtpd.start("rm-map-a").ask("lookup", "relayhost", "x") == "smtp://192.0.2.1:25"
    assert smtpd.start("rm-map-a").ask("lookup", "relayhost", "x") == "smtp://192.0.2.1:25"
    smtpd.waits(1)
    assert sockets(smtpd.state_dir) == [own.name]
    assert smtpd.close() == [0, 0]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_who_listens_there_as_another_user_is_handed_nothing(smtpd: Smtpd) -> None:
    own = Path(address_of(str(asking.walk_file(smtpd.state_dir)), os.getpid()))
    ready, told = os.pipe()
    other = os.fork()
    if other == 0:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(own))
            os.setuid(65534)
            listener.listen()
            os.write(told, b"x")
            link, _ = listener.accept()
            got = socket.recv_fds(link, 16, 4)
            os._exit(0 if (got[0], got[1]) == (b"", []) else 1)
    os.read(ready, 1)
    assert smtpd.start("rm-map-a").ask("lookup", "relayhost", "x") == "smtp://192.0.2.1:25"
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0
    assert name_of(smtpd.programs[0]).startswith("python")
    assert smtpd.close() == [0]


def test_who_hands_over_and_goes_on_itself_is_served_at_one_end_only(smtpd: Smtpd) -> None:
    """It has waited too long: it has not said that it left, so nobody else may read its pipe."""
    first = smtpd.start("rm-map-a")
    own = address_of(str(asking.walk_file(smtpd.state_dir)), os.getpid())
    ours, theirs = socket.socketpair()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.connect(own)
        socket.send_fds(link, [b"T"], [theirs.fileno(), theirs.fileno()])
        assert link.recv(1) == b"t"
    ours.sendall(asking.question_frame("lookup", "relayhost", b"x"))
    assert first.ask("lookup", "relayhost", "x") == "smtp://192.0.2.1:25"
    assert theirs.recv(4096) == asking.question_frame("lookup", "relayhost", b"x")
    theirs.close()
    assert ours.recv(1) == b""  # the first has let go of it
    ours.close()
    assert smtpd.close() == [0]


def test_whoever_says_whatever_on_our_socket_smtpd_is_served(smtpd: Smtpd) -> None:
    table = smtpd.start("rm-map-a")
    own = address_of(str(asking.walk_file(smtpd.state_dir)), os.getpid())
    for said in (b"", b"T", b"L", b"\xff" * 200_000, b"\n" * 100, b"status", b"trace\n"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.connect(own)
            link.setblocking(False)  # noqa: FBT003  its only argument
            try:
                link.sendall(said)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                link.setblocking(True)  # noqa: FBT003  its only argument
            assert table.ask("lookup", "relayhost", "x") == "smtp://192.0.2.1:25"
    assert smtpd.close() == [0]
