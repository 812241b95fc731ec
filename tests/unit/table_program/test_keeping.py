"""Whoever of the program is killed, and whenever: smtpd is answered each question just once."""

import errno
import gc
import mmap
import os
import random
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from app.table_program.answers import WALK
from app.table_program.in_hand import InHand
from app.table_program.keeping import Keeper, Kept
from app.table_program.main import Program
from tests.conftest import Tell
from tests.unit.routing.making import routing
from tests.unit.table_program import asking
from tests.unit.table_program.starting import Smtpd

pytestmark = pytest.mark.io

DOMAINS = [f"d{n}.test" for n in range(1, 6)]
ROUTING = {
    "maps": {"a": {"policy": "failover", "relays": ["smtp://192.0.2.1"]}},
    "tables": {
        "bydom": {
            "key": "recipient-domain",
            "entries": {name: f"smtp://192.0.2.{n}" for n, name in enumerate(DOMAINS, 1)},
        }
    },
    "rules": [
        {"match": {"recipients": ["d1.test"]}, "action": "map:a"},
        {"match": {"recipients": ["*.test"]}, "action": "table:bydom"},
    ],
}
TABLE = "rm-table-bydom"
KILLS = 60
STEPS = 60


@pytest.fixture
def smtpd(tmp_path: Path) -> Smtpd:
    asking.write(tmp_path, asking.content(routing(ROUTING)))
    return Smtpd(tmp_path)


def relay(number: int) -> str:
    return f"smtp://192.0.2.{number}:25"


def asks(table: asking.Asker) -> None:
    """Ask one question after the other, and see that each gets its own answer."""
    for number, name in enumerate(DOMAINS, 1):
        assert table.ask("lookup", "relayhost", name) == relay(number)


def test_another_goes_on_for_who_answers(smtpd: Smtpd) -> None:
    first, second = smtpd.start(TABLE), smtpd.start("rm-map-a")
    smtpd.ends(1)
    before = smtpd.pids()
    smtpd.kill(before[0])
    asks(first)
    assert second.ask("lookup", "relayhost", "x.test") == relay(1)
    after = smtpd.pids()
    assert (after[0] != before[0], after[1]) == (True, before[1])
    assert smtpd.status()["tables"] == ["rm-map-a", TABLE]
    assert smtpd.close() == [0]


def test_who_answers_keeps_for_another_one_where_the_keeper_is_killed(smtpd: Smtpd) -> None:
    table = smtpd.start(TABLE)
    before = smtpd.pids()
    smtpd.kill(before[1])
    while (after := smtpd.pids()) == before:
        pass
    assert after[1] == before[0]
    asks(table)
    smtpd.kill(after[0])
    asks(table)
    later = smtpd.start("rm-map-a")  # handed over to who came after who came after
    assert later.ask("lookup", "relayhost", "x.test") == relay(1)
    assert smtpd.ends(1) == 0
    assert smtpd.close() == [-signal.SIGKILL]


def test_both_at_once_are_the_end_of_every_table(smtpd: Smtpd) -> None:
    """smtpd sees it, and ends; nobody waits for what never comes."""
    tables = [smtpd.start(TABLE), smtpd.start("rm-map-a")]
    assert smtpd.ends(1) == 0
    smtpd.kill(*smtpd.pids())
    assert [table.link.recv(1) for table in tables] == [b"", b""]
    assert smtpd.close() == [-signal.SIGKILL]


def test_killed_again_and_again_while_it_is_asked_each_question_has_its_answer(
    smtpd: Smtpd,
) -> None:
    table, chance = smtpd.start(TABLE), random.Random(1)
    for _ in range(KILLS):
        victim = smtpd.pids()[chance.randrange(2)]
        kill = threading.Timer(chance.uniform(0, 0.002), os.kill, (victim, signal.SIGKILL))
        kill.start()
        while kill.is_alive() or victim in smtpd.pids():
            asks(table)
    assert says_nothing(table)
    smtpd.close()


def says_nothing(table: asking.Asker) -> bool:
    """Whether nothing was said that nobody asked for."""
    table.link.setblocking(False)  # noqa: FBT003  its only argument
    with pytest.raises(BlockingIOError):
        table.link.recv(1)
    return True


def watched() -> frozenset[CodeType]:
    """What takes a question, and gives the answer."""
    functions = (
        *(InHand.give, InHand.resume, InHand._move, InHand._waits, InHand._empty),
        *(Program._hear, Program._answer_all, Program._said, Program._begin, Keeper.name),
    )
    return frozenset(function.__code__ for function in functions)


class Killed:
    """Kills its own process before a certain instruction of what takes and gives.

    Args:
        left: instructions until then, in whichever process they are.
    """

    def __init__(self, left: int) -> None:
        self._left = mmap.mmap(-1, 4)
        self._watched = watched()
        self.left = left

    @property
    def left(self) -> int:
        """Instructions until then; negative: it was."""
        return int(struct.unpack_from("=i", self._left)[0])

    @left.setter
    def left(self, left: int) -> None:
        struct.pack_into("=i", self._left, 0, left)

    def frame(self, frame: FrameType, event: str, _: object) -> Any:
        """See `sys.settrace`."""
        if frame.f_code not in self._watched:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.frame


def served(state_dir: Path, killed: Killed) -> tuple[int, socket.socket]:
    """Start a program that is killed once; its first process, and where it is asked."""
    ours, theirs = socket.socketpair()
    made = os.fork()
    if made:
        theirs.close()
        ours.settimeout(20)
        return made, ours
    ours.close()
    gc.freeze()  # what the tests have there is not looked through at each start

    def serve(keeper: Keeper) -> bool:
        actions = tuple(asking.walk_file(state_dir).read_text("ascii").splitlines())
        program = Program("", asking.reader(state_dir), actions, keeper=keeper)
        sys.settrace(killed.frame)
        return program.run(None)

    try:
        Keeper([Kept(theirs)]).keep(serve)
    finally:
        os._exit(0)


def looked_up(asker: asking.Asker) -> list[object]:
    return [asker.ask("lookup", "relayhost", name) for name in DOMAINS[:3]]


def walked(asker: asking.Asker) -> list[object]:
    return [asking.walk(asker, recipient=f"u@{name}", lines=4) for name in DOMAINS[:2]]


@pytest.mark.parametrize("speaks", [asking.Text, asking.Frames])
@pytest.mark.parametrize(("table", "asks"), [(TABLE, looked_up), (WALK, walked)])
def test_killed_before_any_instruction_each_question_has_its_answer_once(
    tmp_path: Path,
    tell: Tell,
    speaks: asking.Speaks,
    table: str,
    asks: Callable[[asking.Asker], list[object]],
) -> None:
    """Also a walk in its middle, and of the first words that smtpd says."""
    asking.write(tmp_path, asking.content(routing(ROUTING)))
    with asking.program(tmp_path, [table], speaks) as (asker,):
        meant = asks(asker)
    assert None not in meant
    assert "cannot tell" not in meant

    def killed_before(step: int) -> int:
        """Kill it before an instruction; how many were left then, or at the end."""
        killed = Killed(step)
        made, ours = served(tmp_path, killed)
        asker = speaks(table, ours)
        assert asks(asker) == meant, step
        assert says_nothing(asker)
        ours.shutdown(socket.SHUT_RDWR)
        ours.close()
        os.waitpid(made, 0)
        return killed.left

    never = 1_000_000
    all_of_them = never - killed_before(never)
    steps = range(1, all_of_them, max(all_of_them // STEPS, 1))
    assert all(killed_before(step) <= 0 for step in steps)
    tell(f"killed before {len(steps)} of {all_of_them} instructions")


def _dies(_: Keeper) -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return False


def test_what_can_answer_nothing_is_not_begun_for_ever() -> None:
    """A question that kills whoever hears it must not hold smtpd up: it sees the end."""
    ours, theirs = socket.socketpair()
    made = os.fork()
    if made == 0:
        ours.close()
        Keeper([Kept(theirs)]).keep(_dies)
        os._exit(0)
    theirs.close()
    with ours:
        assert ours.recv(1) == b""
    assert os.waitpid(made, 0)[1] == 0


def test_a_kernel_that_moves_nothing_to_a_socket_is_served_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.EINVAL, "not to a socket")

    monkeypatch.setattr(os, "splice", refused)
    ours, theirs = socket.socketpair()
    in_hand = InHand()
    with ours, theirs:
        for number in (1, 2):
            theirs.sendall(b"question")
            in_hand.give(0, ours, 8, b"answer %d" % number, None)
            assert theirs.recv(100) == b"answer %d" % number
    assert in_hand.answered == 2
