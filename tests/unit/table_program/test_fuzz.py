"""Whatever comes in, every question gets one answer, in its order, and it is what resolve says."""

import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.routing.decision import decide, relay_for
from app.routing.envelope import Envelope
from app.routing.next_hop import MX
from app.routing.resolve import resolve
from app.routing.route import Draw, MxHosts, Rejected, Route, Unrouted
from app.routing.routing_table import RoutingTable
from app.routing.rule import Reject
from app.table_program.answers import CREDENTIALS, WALK
from app.table_program.channel import MAX_LINE, Answer, Channel, Imsg, Lines, Question
from app.table_program.main import Program, _Asked
from tests.unit.routing import strategies
from tests.unit.routing.making import routing
from tests.unit.table_program import asking

pytestmark = pytest.mark.io

ROUTING = {
    "credentials": {"acct": ["mx1.example"]},
    "maps": {"pool": {"policy": "failover", "relays": ["smtp://192.0.2.1"]}},
    "tables": {
        "bydom": {"key": "recipient-domain", "entries": {"one.test": "smtp://192.0.2.7"}},
        "bysend": {"key": "sender", "entries": {"a|b@one.test": "map:pool"}},
    },
    "rules": [{"match": {"recipients": ["*.test"]}, "action": "table:bydom"}],
}
TABLES = (WALK, CREDENTIALS, "rm-map-pool", "rm-table-bydom", "%s|x", "")
SERVICES = sorted(asking.SERVICES)
SPECIAL = "\0|\n\r%'\"\\ @.*[]:<>\u00e9\ufffd"
keys = st.one_of(
    st.sampled_from(["one.test", "acct", "@", "a|b@one.test", "local", "[::1]", "", "u@one.test"]),
    st.text(st.sampled_from(SPECIAL), max_size=20).map(str.encode),
    st.binary(max_size=60),
    st.sampled_from([b"x" * 1_000_000, b"\xed\xa0\x80", b"a" * 1_023, b"%s%n" * 50]),
).map(lambda key: key.encode() if isinstance(key, str) else key)
questions = st.tuples(st.sampled_from(sorted(asking.KINDS)), st.sampled_from(SERVICES), keys)
cuts = st.lists(st.integers(1, 5_000), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    with TemporaryDirectory() as where:
        content = asking.content(routing(ROUTING))
        asking.write(Path(where), content)
        names = tuple(each.name for each in content.actions)
        yield Program("", asking.reader(Path(where)), names)


def fed(channel: Channel, data: bytes, sizes: list[int]) -> Iterator[Question]:
    return asking.questions(channel, _cut(data, sizes))


def _cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at, turn = 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)] if len(data) < 20_000 else 65_536
        yield data[at : at + size]
        at, turn = at + size, turn + 1


def answers(program: Program, table: str, asked: list[Question]) -> list[Answer]:
    """A table that is opened, and what it answers."""
    one = _Asked()
    program.answer(one, Question("open", key=table))
    return [program.answer(one, each) for each in asked]


@given(st.sampled_from(TABLES), st.lists(questions, max_size=12), cuts)
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
def test_each_line_gets_its_own_answer_in_order(
    program: Program, table: str, asked: list[tuple[str, str, bytes]], sizes: list[int]
) -> None:
    channel, data, meant = Lines(), b"", []
    for number, (kind, service, key) in enumerate(asked):
        key = key.replace(b"\n", b"")  # noqa: PLW2901  smtpd asks nothing that holds one
        line = f"table|0.1|1.5|{table}|{kind}|{service}|{number:016x}".replace("%s|x", "t")
        line_octets = line.encode() + (b"" if kind == "fetch" else b"|" + key)
        data += line_octets + b"\n"
        held = "" if kind == "fetch" else key.decode("utf-8", "replace")
        if len(line_octets) > MAX_LINE:
            service, held = "", ""  # noqa: PLW2901
        meant.append(Question(kind, service, held, f"{number:016x}"))
    found = list(fed(channel, data, sizes))
    assert [(q.kind, q.service, q.token) for q in found] == [
        (q.kind, q.service, q.token) for q in meant
    ]
    assert [q.key for q in found if q.service] == [q.key for q in meant if q.service]
    said = b"".join(
        channel.answer(q, answer)
        for q, answer in zip(found, answers(program, table, found), strict=True)
    )
    lines = said.split(b"\n")
    assert [line.split(b"|")[:2] for line in lines[:-1]] == [
        [f"{q.kind}-result".encode(), q.token.encode()] for q in meant
    ]
    again = answers(program, table, meant)
    assert [Lines().answer(q, a) + b"" for q, a in zip(meant, again, strict=True)] == [
        line + b"\n" for line in lines[:-1]
    ]


@given(st.sampled_from(TABLES), st.lists(questions, max_size=12), cuts)
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
def test_each_frame_gets_its_own_answer_in_order(
    program: Program, table: str, asked: list[tuple[str, str, bytes]], sizes: list[int]
) -> None:
    channel, data, meant = Imsg(), b"", []
    for kind, service, key in asked:
        held = key[:16_000]
        data += asking.question_frame(kind, service, held)
        text = "" if kind == "fetch" else held.partition(b"\0")[0].decode("utf-8", "replace")
        meant.append(Question(kind, service, text))
    found = list(fed(channel, data, sizes))
    assert found == meant
    for question, answer in zip(found, answers(program, table, found), strict=True):
        said = channel.answer(question, answer)
        head = struct.unpack("=IHHII", said[:16])
        assert head == (0, len(said), 0, 0, 0)
        assert asking.Frames.read(said[16:]) == answer


@given(st.binary(max_size=3_000), cuts, st.booleans())
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
def test_octets_that_mean_nothing_end_nothing(
    program: Program,
    data: bytes,
    sizes: list[int],
    lines: bool,  # noqa: FBT001  drawn
) -> None:
    """And no more answers than there can be questions in them."""
    channel: Channel = Lines() if lines else Imsg()
    asked = _Asked()
    found = list(fed(channel, data, sizes))
    assert len(found) <= (data.count(b"\n") + 1 if lines else len(data) // 16)
    for question in found:
        channel.answer(question, program.answer(asked, question))


NOBODY: frozenset[tuple[str, str]] = frozenset()


@given(strategies.routings(), st.lists(strategies.envelopes, min_size=1, max_size=10))
@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
def test_the_walk_decides_as_resolve_does(table: RoutingTable, letters: list[Envelope]) -> None:
    """Through the file, the questions and the answers, against the routing in memory."""
    content = asking.content(table)
    with TemporaryDirectory() as where:
        asking.write(Path(where), content)
        names = [each.name for each in content.actions]
        program = Program("", asking.reader(Path(where)), tuple(names))
        asked = _Asked()
        program.answer(asked, Question("open", key=WALK))
        for letter in letters:
            number = asking.walk(
                InProgram(program, asked),  # type: ignore[arg-type]
                sender=str(letter.sender) or "@",
                recipient=str(letter.recipient),
                client="local" if letter.client is None else f"[{letter.client}]",
                helo=letter.helo or "",
                tag=letter.tag,
                user=letter.auth_user,
                lines=len(names),
            )
            known = Envelope(
                letter.sender,
                letter.recipient,
                letter.client,
                letter.auth_user,
                letter.helo or "",
                letter.tag,
                letter.own_addresses,
            )
            fixed = decide(table, content.slots, known, NOBODY)
            assert number == (None if fixed is None else names.index(fixed.name))
            expected = resolve(table, known, NOBODY, lambda _map: Draw(), MxHosts(("mx.test",)))
            if fixed is None:
                assert isinstance(expected, Unrouted)
            elif isinstance(fixed.to, Reject):
                assert isinstance(expected, Rejected)
            elif fixed.to == MX:
                assert isinstance(expected, Route)
                assert expected.candidates[0].url is None
        program.live.close()


class InProgram:
    """Asks a table without anything between."""

    def __init__(self, program: Program, asked: _Asked) -> None:
        self.program, self.asked = program, asked

    def ask(self, kind: str, service: str, key: str = "") -> Answer:
        return self.program.answer(self.asked, Question(kind, service, key, "01"))


@given(
    strategies.routings(), st.lists(strategies.envelopes, min_size=1, max_size=10), strategies.draws
)
@settings(max_examples=100, suppress_health_check=list(HealthCheck), deadline=None)
def test_the_relay_of_an_attempt_is_the_one_that_resolve_picks(
    table: RoutingTable, letters: list[Envelope], draw: Draw
) -> None:
    """Where the password may go there: what resolve answers is refused before, by a check."""
    content = asking.content(table)
    with TemporaryDirectory() as where:
        asking.write(Path(where), content)
        file = asking.reader(Path(where))
        for letter in letters:
            fixed = decide(table, content.slots, letter, NOBODY)
            expected = resolve(table, letter, NOBODY, lambda _map: draw, MxHosts(("mx.test",)))
            with file.read() as view:
                asking_for = None if fixed is None else view.structure.actions.get(fixed.name)
                if asking_for is None or not isinstance(expected, Route):
                    continue
                url = relay_for(
                    view.table, asking_for, letter.recipient.domain, NOBODY, lambda _map: draw
                )
                labels = {c.url.credential for c in expected.candidates if c.url is not None}
                if labels <= {None}:
                    assert url == expected.candidates[0].url
                elif url is not None:
                    assert url in {candidate.url for candidate in expected.candidates}
        file.close()
