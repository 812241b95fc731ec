"""The targets: both protocols, rows of a live file, and the walk; each makes a function of octets.

A target raises where something was promised that does not hold: then the input is kept.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from app.routing.live_file import (
    STRUCTURE,
    Known,
    Meta,
    NotLive,
    read_down,
    read_entry,
    read_structure,
)
from app.table_program.answers import WALK
from app.table_program.channel import MAX_LINE, Channel, Imsg, Lines, Question
from app.table_program.live import LiveFile
from app.table_program.log import Log
from app.table_program.main import Program, _Asked
from tests.unit.routing.making import routing
from tests.unit.table_program import asking

Target = Callable[[bytes], None]

_ROUTING = {
    "credentials": {"acct": ["mx1.example"]},
    "maps": {"pool": {"policy": "failover", "relays": ["smtp+tls://acct@mx1.example"]}},
    "tables": {"bydom": {"key": "recipient-domain", "entries": {"one.test": "smtp://192.0.2.7"}}},
    "rules": [
        {"match": {"senders": ["*.one.test"]}, "action": "map:pool"},
        {"match": {"recipients": ["*.test"]}, "action": "table:bydom"},
    ],
}
_SERVICES = ("string", "regex", "netaddr", "domain", "mailaddr", "relayhost", "credentials", "")


class OwnError(Exception):
    """The program caught an error of its own: nothing from outside may cause one."""


class _Strict(Log):
    def say(self, cause: str, what: str) -> None:
        if cause == "own error":
            raise OwnError(what)


def _program(where: Path) -> tuple[Program, int]:
    content = asking.content(routing(_ROUTING))
    asking.write(where, content)
    names = tuple(each.name for each in content.actions)
    live = LiveFile(where / "data")
    return Program("", live, names, log=_Strict()), len(names)


def _channel(where: Path, make: Callable[[], Channel]) -> Target:
    program, _ = _program(where)

    def one(data: bytes) -> None:
        """The first octet says how the rest is cut: alike questions, however it is."""
        size, data = (data[0] or 1, data[1:]) if data else (1, data)
        whole, cut = make(), make()
        asked = _Asked()
        program.answer(asked, Question("open", key=WALK))
        meant = list(asking.questions(whole, [data]))
        pieces = (data[at : at + size] for at in range(0, len(data), size))
        found = list(asking.questions(cut, pieces))
        if len(data) < MAX_LINE and found != meant:
            raise AssertionError("the same octets ask something else when they are cut")
        for question in meant:
            said = whole.answer(question, program.answer(asked, question))
            if isinstance(whole, Lines) and question.kind != "open" and said.count(b"\n") > 1:
                raise AssertionError("one question, and more than one answer")

    return one


def _rows(_where: Path) -> Target:
    def one(data: bytes) -> None:
        """Whatever rows hold, they are NotLive or something to answer from."""
        with suppress(NotLive):
            Meta.read(data)
        with suppress(NotLive):
            read_down(data)
        with suppress(NotLive):
            str(read_entry(data)[0])
        name, _, row = data.partition(b"\n")
        kind, name = STRUCTURE[(name[0] if name else 0) % len(STRUCTURE)], name[1:]
        with suppress(NotLive):
            read_structure([(kind + name, row)], Known()).routing(1, {})

    return one


def _walk(where: Path) -> Target:
    program, actions = _program(where)
    asked = _Asked()
    program.answer(asked, Question("open", key=WALK))

    def one(data: bytes) -> None:
        """A walk over whatever came before it is the walk that it would be alone."""
        for piece in data.split(b"\n"):
            service = _SERVICES[piece[0] % len(_SERVICES)] if piece else ""
            key = piece[1:].decode("utf-8", "replace")
            program.answer(asked, Question("check", service, key, "01"))
        answers = [
            program.answer(asked, Question("check", service, key, "01"))
            for service, key in (
                *(("netaddr", "local"), ("string", ""), ("domain", "mx.test")),
                *(("mailaddr", "a@x.test"), ("mailaddr", "u@one.test")),
                *(("string", ""),) * (actions - 1),
            )
        ]
        if answers[:4] != [True] * 4 or answers[4:].count(True) != 1:
            raise AssertionError("a walk that is another one after what came before")

    return one


TARGETS: Mapping[str, Callable[[Path], Target]] = {
    "lines": lambda where: _channel(where, Lines),
    "frames": lambda where: _channel(where, Imsg),
    "rows": _rows,
    "walk": _walk,
}
