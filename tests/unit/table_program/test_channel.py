"""What smtpd and the table program say to each other, octet by octet, through the whole program."""

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.routing.live_file import Login
from app.table_program.channel import Imsg, Lines
from tests.unit.routing.making import routing
from tests.unit.table_program import asking

pytestmark = pytest.mark.io

VECTORS = Path(__file__).parents[2] / "vectors"
ROUTING = {
    "credentials": {"acct": ["mx1.example"]},
    "maps": {"pool": {"policy": "failover", "relays": ["smtp+tls://acct@mx1.example"]}},
    "tables": {"bydom": {"key": "recipient-domain", "entries": {"one.test": "smtp://192.0.2.7"}}},
    "rules": [
        {"match": {"recipients": ["one.test"]}, "action": "table:bydom"},
        {"match": {"recipients": ["pipe.test"]}, "action": "map:pool"},
    ],
}
WALK = ["rm-table-bydom", "rm-map-pool.tls"]


def parts(file: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each table of a transcript with its lines: who says it, and what."""
    table, said = "", list[tuple[str, str]]()
    for line in (VECTORS / file).read_text("utf-8").splitlines():
        if line.startswith("== "):
            if table:
                yield table, said
            table, said = line[3:], []
        elif not line.startswith("#"):
            said.append((line[0], line[2:]))
    yield table, said


def text(line: str) -> bytes:
    return f"{line}\n".encode()


def imsg(line: str) -> bytes:
    kind, body = line.split(maxsplit=1)[0], b""
    for number, width, string in re.findall(r'(-?\d+):(i32|u64)|"([^"]*)"', line):
        form = {"i32": "=i", "u64": "=Q"}.get(width)
        body += struct.pack(form, int(number)) if form else string.encode() + b"\0"
    # What the peer writes into it is nobody's business; the program says nothing there.
    return struct.pack("=IHHII", int(kind), 16 + len(body), 0, 0, 0) + body


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("state")
    login = {"acct": Login("us|er", "pass word:é|x")}
    asking.write(where, asking.content(routing(ROUTING), logins=login))
    asking.walk_file(where).write_text("".join(f"{name}\n" for name in WALK), "ascii")
    return where


class Bare(asking.Text):
    """Who has said nothing yet."""

    def __init__(self, _table: str, link: socket.socket) -> None:
        self.link = link


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize(
    ("file", "octets"), [("smtpd_tables_7_8.txt", text), ("smtpd_tables_6_8.txt", imsg)]
)
def test_a_transcript_of_smtpd_octet_by_octet(
    state_dir: Path, file: str, octets: Callable[[str], bytes], size: int
) -> None:
    """What smtpd says comes in pieces of that size; what it hears is compared as octets."""
    for table, said in parts(file):
        with asking.program(state_dir, [table], Bare) as (asker,):
            link = asker.link
            for who, line in said:
                data = octets(line)
                if who == ">":
                    for at in range(0, len(data), size):
                        link.sendall(data[at : at + size])
                else:
                    assert link.recv(len(data), socket.MSG_WAITALL) == data, line
            link.setblocking(False)  # noqa: FBT003  its only argument
            with pytest.raises(BlockingIOError):  # nothing is said that nobody waits for
                link.recv(1)


@pytest.mark.parametrize("file", ["smtpd_tables_7_8.txt", "smtpd_tables_6_8.txt"])
def test_questions_are_alike_however_they_are_cut(file: str) -> None:
    make, octets = (Lines, text) if "7_8" in file else (Imsg, imsg)
    for _, said in parts(file):
        data = b"".join(octets(line) for who, line in said if who == ">")
        whole = list(asking.questions(make(), [data]))
        for size in (1, 2, 3, 17, 4096):
            pieces = [data[at : at + size] for at in range(0, len(data), size)]
            assert list(asking.questions(make(), pieces)) == whole


def test_a_line_without_end_takes_no_more_than_its_beginning() -> None:
    head = b"table|0.1|1|rm-walk|check|string|0a|"
    pieces = [head + b"x" * 16_384] * 64
    asked = list(asking.questions(Lines(), [*pieces, b"\n" + head + b"y\n"]))
    assert [(q.kind, q.service, q.token) for q in asked] == [
        ("check", "", "0a"),
        ("check", "string", "0a"),
    ]
    assert asked[1].key == "y"


@pytest.mark.parametrize("octets", [16_400, 65_536, 65_600, 400_000])
def test_a_line_that_is_too_long_is_answered_and_the_next_one_too(
    state_dir: Path, octets: int
) -> None:
    head = b"table|0.1|1.5|rm-table-bydom|lookup|relayhost|0a|"
    line = head + b"x" * (octets - len(head))
    with asking.program(state_dir, ["rm-table-bydom"], asking.Text) as (table,):
        says = threading.Thread(target=table.link.sendall, args=(line,))
        says.start()  # more than a socket holds waits for who reads
        assert isinstance(table, asking.Text)
        assert table.line() == "lookup-result|0a|error|cannot tell now"
        says.join()
        table.link.sendall(b"yy\n")
        assert table.ask("lookup", "relayhost", "one.test") == "smtp://192.0.2.7:25"


def test_a_value_that_would_be_read_as_two_answers_is_not_said() -> None:
    for value in ("a\nlookup-result|2|found|b", "a\0b", "\ud800", "x" * 10_000):
        question, _ = Lines().take(b"table|0.1|1|t|lookup|relayhost|01|k\n", 0)
        assert question is not None
        assert Lines().answer(question, value) == b"lookup-result|01|error|cannot tell now\n"
        assert struct.unpack("=i", Imsg().answer(question, value)[16:]) == (-1,)
