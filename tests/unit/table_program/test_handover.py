"""One program for all tables: real ones hand over to the first and end, and it ends with smtpd."""

import contextlib
import os
import socket
from pathlib import Path

import pytest

from tests.unit.routing.making import routing
from tests.unit.table_program import asking
from tests.unit.table_program.starting import Smtpd

pytestmark = pytest.mark.io

ROUTING = {"maps": {"a": {"policy": "failover", "relays": ["smtp://192.0.2.1"]}}}
ANSWER = "smtp://192.0.2.1:25"


@pytest.fixture
def smtpd(tmp_path: Path) -> Smtpd:
    asking.write(tmp_path, asking.content(routing(ROUTING)))
    return Smtpd(tmp_path)


def sockets(where: Path) -> list[str]:
    return sorted(path.name for path in (where / "data/run").iterdir())


def test_the_first_serves_all_and_ends_with_smtpd(smtpd: Smtpd) -> None:
    first, second, third = (smtpd.start(f"rm-map-{name}") for name in ("a", "b", "a"))
    assert (smtpd.ends(2), smtpd.ends(1)) == (0, 0)
    assert first.ask("lookup", "relayhost", "x.test") == ANSWER
    assert second.ask("lookup", "relayhost", "x.test") is False
    assert third.ask("lookup", "relayhost", "x.test") == ANSWER
    assert sockets(smtpd.state_dir) == [f"{os.getppid()}.{os.getpid()}.sock"]
    assert smtpd.close() == [0]
    assert sockets(smtpd.state_dir) == []


def test_a_socket_that_was_left_is_no_obstacle(smtpd: Smtpd) -> None:
    own = smtpd.address
    for left in (own, own.with_name("1.4194305.sock")):  # more than a pid can be
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(left))
    assert smtpd.start("rm-map-a").ask("lookup", "relayhost", "x") == ANSWER
    assert smtpd.start("rm-map-a").ask("lookup", "relayhost", "x") == ANSWER
    assert smtpd.ends(1) == 0
    assert sockets(smtpd.state_dir) == [own.name]
    assert smtpd.close() == [0]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_who_listens_there_as_another_user_is_handed_nothing(smtpd: Smtpd) -> None:
    own = smtpd.address
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
    assert smtpd.start("rm-map-a").ask("lookup", "relayhost", "x") == ANSWER
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0
    assert smtpd.close() == [0]


def test_who_hands_over_and_goes_on_itself_is_served_at_one_end_only(smtpd: Smtpd) -> None:
    """It has waited too long: it has not said that it left, so nobody else may read its pipe."""
    first = smtpd.start("rm-map-a")
    own = str(smtpd.address)
    ours, theirs = socket.socketpair()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.connect(own)
        socket.send_fds(link, [b"T"], [theirs.fileno()])
        assert link.recv(1) == b"t"
    ours.sendall(asking.question_frame("lookup", "relayhost", b"x"))
    assert first.ask("lookup", "relayhost", "x") == ANSWER
    assert theirs.recv(4096) == asking.question_frame("lookup", "relayhost", b"x")
    theirs.close()
    assert ours.recv(1) == b""  # the first has let go of it
    ours.close()
    assert smtpd.close() == [0]


def hand_over(address: Path, table: socket.socket, *, until: bytes) -> socket.socket:
    """Hand over as a program does, up to an answer."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.connect(str(address))
    socket.send_fds(link, [b"T"], [table.fileno()])
    assert link.recv(1) == b"t"
    if until == b"l":
        link.sendall(b"L")
        assert link.recv(1) == b"l"
    return link


def test_who_takes_is_killed_and_it_is_handed_to_another_one_and_served_once(smtpd: Smtpd) -> None:
    """It may have been taken, and not been said: then it comes a second time."""
    smtpd.start("rm-map-a")
    ours, theirs = socket.socketpair()
    for until in (b"t", b"l", b"l"):
        with hand_over(smtpd.address, theirs, until=until) as link:
            smtpd.kill(smtpd.pids()[0])
            with contextlib.suppress(ConnectionResetError):
                assert link.recv(1) == b""
    theirs.close()
    table = asking.Frames("rm-map-a", ours)
    assert table.ask("lookup", "relayhost", "x") == ANSWER
    assert table.ask("lookup", "relayhost", "y") == ANSWER
    assert smtpd.status()["tables"] == ["rm-map-a", "rm-map-a"]
    ours.close()
    assert smtpd.close() == [0]


def test_whoever_says_whatever_on_our_socket_smtpd_is_served(smtpd: Smtpd) -> None:
    table = smtpd.start("rm-map-a")
    own = str(smtpd.address)
    for said in (b"", b"T", b"L", b"\xff" * 200_000, b"\n" * 100, b"status", b"trace\n"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.connect(own)
            link.setblocking(False)  # noqa: FBT003  its only argument
            try:
                link.sendall(said)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                link.setblocking(True)  # noqa: FBT003  its only argument
            assert table.ask("lookup", "relayhost", "x") == ANSWER
    assert smtpd.close() == [0]
