"""The live file as it is read while others write it, put others in its place, or cut it off."""

import ast
import os
import shutil
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from app.agent.live_file import Content
from app.routing.live_file import Meta
from app.routing.next_hop import MX, EntryHop, parse_entry_hop
from app.routing.routing_table import RoutingTable
from app.table_program import live
from app.table_program.live import CannotRead, LiveFile
from tests.unit.routing.making import routing
from tests.unit.table_program import asking

pytestmark = pytest.mark.io

MANY = 20_000


def table(relay: str, entries: int = 1, revision: int = 1) -> RoutingTable:
    """A routing in which each entry, and the map, lead to one relay."""
    made = routing(
        {
            "maps": {"pool": {"policy": "failover", "relays": [f"smtp://{relay}"]}},
            "tables": {"bydom": {"key": "recipient-domain"}},
        }
    )
    hop: EntryHop = parse_entry_hop(f"smtp://{relay}")
    keys = (f"d{n:05}.test" for n in range(entries))
    return replace(made, revision=revision, entries={"bydom": dict.fromkeys(keys, hop)})


def write(where: Path, relay: str, revision: int = 1, entries: int = 1) -> None:
    asking.write(where, asking.content(table(relay, entries, revision), revision))


def seen(file: LiveFile, last: int = 0) -> tuple[int, set[str]]:
    """The revision, and every relay that is led to from it."""
    with file.read() as view:
        entries = view.table.entries["bydom"]
        hops = {str(entries.get(key, MX)) for key in (f"d{0:05}.test", f"d{last:05}.test")}
        return view.meta.revision, hops | {str(view.table.maps["pool"].relays[0].url)}


def child(act: Callable[[], object]) -> int:
    """The process that does something and ends."""
    made = os.fork()
    if made == 0:
        ended = 1
        try:
            act()
            ended = 0
        finally:
            os._exit(ended)
    return made


def ended(made: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(made, 0)[1])


class Reader:
    """A program that reads the file, in a process of its own: none opens a file twice."""

    def __init__(self, where: Path) -> None:
        self._link, theirs = socket.socketpair()
        self.process = child(lambda: self._serve(where, theirs))
        theirs.close()
        self._lines = self._link.makefile("r")
        self.trouble = ""

    def _serve(self, where: Path, link: socket.socket) -> None:
        self._link.close()
        file = asking.reader(where)
        for line in link.makefile("r"):
            found = None
            with suppress(CannotRead):
                found = seen(file, int(line))
            link.sendall(f"{(found, file.trouble)!r}\n".encode())

    def seen(self, last: int = 0) -> tuple[int, set[str]] | None:
        """What it sees; None where it cannot read."""
        self._link.sendall(f"{last}\n".encode())
        found, self.trouble = ast.literal_eval(self._lines.readline())
        return found  # type: ignore[no-any-return]


@pytest.fixture(params=[live._MOST_MAPPED, 0], ids=["kept", "let-go"], autouse=True)
def most_mapped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """As it is, and with nothing of a file kept mapped from one question to the next."""
    most: int = request.param
    monkeypatch.setattr(live, "_MOST_MAPPED", most)
    return most


@pytest.fixture
def started(most_mapped: int) -> Iterator[Callable[[Path], Reader]]:
    """Starts programs; each is there to the end, and ends by itself."""
    readers: list[Reader] = []

    def start(where: Path) -> Reader:
        readers.append(Reader(where))
        return readers[-1]

    yield start
    for reader in readers:
        reader._lines.close()
        reader._link.close()
        # Those that were started later hold its link as well.
    for reader in reversed(readers):
        assert ended(reader.process) == 0


def data(where: Path) -> Path:
    return where / "data/data.mdb"


Start = Callable[[Path], Reader]
ONE = (1, {"smtp://192.0.2.1"})


def test_a_file_that_comes_later_is_read(tmp_path: Path, started: Start) -> None:
    reader = started(tmp_path)
    for _ in range(2):
        assert reader.seen() is None
        assert reader.trouble == "there is no live file: No such file or directory"
    write(tmp_path, "192.0.2.1")
    assert reader.seen() == ONE
    assert reader.trouble == ""


def test_an_older_copy_is_not_read_and_a_newer_file_is(tmp_path: Path, started: Start) -> None:
    write(tmp_path, "192.0.2.1")
    older = tmp_path / "older"
    shutil.copy(data(tmp_path), older)
    write(tmp_path, "192.0.2.2", 2)
    reader = started(tmp_path)
    two = (2, {"smtp://192.0.2.2"})
    assert reader.seen() == two
    newer = tmp_path / "newer"
    shutil.copy(data(tmp_path), newer)
    older.rename(data(tmp_path))
    for _ in range(2):
        assert reader.seen() == two
        assert reader.trouble == "the live file was replaced by an older one"
    newer.rename(data(tmp_path))
    assert reader.seen() == two
    assert reader.trouble == ""
    write(tmp_path, "192.0.2.3", 3)
    assert reader.seen() == (3, {"smtp://192.0.2.3"})


def test_a_file_that_is_away_for_a_while_is_read_as_it_was(tmp_path: Path, started: Start) -> None:
    write(tmp_path, "192.0.2.1")
    reader = started(tmp_path)
    assert reader.seen() == ONE
    data(tmp_path).rename(tmp_path / "away")
    assert reader.seen() == ONE
    assert reader.trouble.startswith("there is no live file")
    (tmp_path / "away").rename(data(tmp_path))
    assert reader.seen() == ONE
    assert reader.trouble == ""


@pytest.mark.parametrize("held", [b"", b"x" * 100, b"\0" * 65_536, b"\xa5\x5a" * 32_768])
def test_a_file_that_is_none_of_ours_is_not_read(
    tmp_path: Path, started: Start, held: bytes
) -> None:
    write(tmp_path, "192.0.2.1")
    reader = started(tmp_path)
    assert reader.seen() == ONE
    (tmp_path / "garbage").write_bytes(held)
    (tmp_path / "garbage").rename(data(tmp_path))
    assert reader.seen() == ONE
    assert reader.trouble.startswith("the live file is not one of ours")
    assert started(tmp_path).seen() is None


ROWS = [
    (b"meta", b'{"format":2}'),
    (b"meta", b"[]"),
    (b"meta", b'{"format":1,"addresses":[],"writes":"9","history":"h"}'),
    (b"meta", b"[" * 100_000),
    (b"map\0pool", b"{}"),
    (b"map\0\xff", b'{"out":[],"slots":{},"spelt":[]}'),
    (b"action\0rm-x", b"[]"),
    (b"action\0rm-x", b'{"to":1}'),
    (b"down", b"{}x"),
    (b"to\0bydom\0d00000.test", b"\xff"),
    (b"to\0bydom\0d00000.test", b"map"),
]


@pytest.mark.parametrize(("where", "row"), ROWS, ids=[repr(r)[:40] for r in ROWS])
def test_a_row_of_another_format_cannot_be_told_from(
    tmp_path: Path, started: Start, where: bytes, row: bytes
) -> None:
    """It is never read as something else, and what is written next is read again."""
    write(tmp_path, "192.0.2.1")
    reader = started(tmp_path)
    assert reader.seen() == ONE
    before: dict[bytes, bytes | None] = {}
    with asking.writer(tmp_path) as ours, ours._open.begin(write=True) as transaction:
        before = {each: transaction.get(each) for each in (b"meta", where)}
        structure = replace(Meta.read(before[b"meta"]), structure=99)
        transaction.put(b"meta", structure.row())
        transaction.put(where, row)
    for _ in range(2):
        assert reader.seen() is None
        assert reader.trouble.endswith(": NotLive")
    assert started(tmp_path).seen() is None
    env = lmdb.open(str(tmp_path / "data"))
    with env.begin(write=True) as transaction:
        for each, held in before.items():
            if held is None:
                transaction.delete(each)
            else:
                transaction.put(each, held)
    env.close()
    assert reader.seen() == ONE
    assert reader.trouble == ""


@pytest.mark.parametrize("left", [0, 1, 4096, 4400, 8192, 40_000])
def test_a_file_that_was_cut_off_kills_nobody(tmp_path: Path, started: Start, left: int) -> None:
    """What is mapped beyond the end of a file is SIGBUS for who looks there."""
    write(tmp_path, "192.0.2.1", entries=MANY)
    reader = started(tmp_path)
    assert reader.seen(MANY - 1) == ONE
    os.truncate(data(tmp_path), left)
    for _ in range(2):
        assert reader.seen(MANY - 1) is None
        assert reader.trouble in {"the live file was cut off", NO_PAGES}
    assert started(tmp_path).seen(MANY - 1) is None


NO_PAGES = "the live file is not one of ours: InvalidError"
"""What LMDB itself says of a file without its first pages."""


def give_back(where: Path) -> None:
    """A writer takes pages at the end, gives them back, and is killed before it tells the file."""
    environment = lmdb.open(str(where / "data"))
    for n in range(6):
        with environment.begin(write=True) as transaction:
            transaction.put(b"zz", bytes(3000 + n))
    with environment.begin(write=True) as transaction:
        transaction.put(b"zzz", bytes(100_000))
        transaction.delete(b"zzz")
        transaction.delete(b"zz")
    pages = environment.info()["last_pgno"] + 1
    assert pages * environment.stat()["psize"] > data(where).stat().st_size
    environment.close()


def test_pages_that_a_write_gave_back_are_not_missed(tmp_path: Path, started: Start) -> None:
    """LMDB counts them and does not write them: the file is shorter than it says, and whole."""
    write(tmp_path, "192.0.2.1", entries=MANY)
    reader = started(tmp_path)
    assert reader.seen(MANY - 1) == ONE
    give_back(tmp_path)
    for _ in range(20):
        assert reader.seen(MANY - 1) == ONE
        assert reader.trouble == ""
    os.truncate(data(tmp_path), data(tmp_path).stat().st_size - 4096)
    assert reader.seen(MANY - 1) is None
    assert reader.trouble == "the live file was cut off"


def test_a_large_file_is_let_go_and_a_small_one_is_not(tmp_path: Path, most_mapped: int) -> None:
    write(tmp_path, "192.0.2.1", entries=MANY)
    file, times = asking.reader(tmp_path), 300
    assert data(tmp_path).stat().st_size < live._MOST_MAPPED or most_mapped == 0
    for _ in range(times):
        assert seen(file, MANY - 1) == ONE
    assert file._mapped == (times * 2 * live._MAPPED if most_mapped else 2 * live._MAPPED)
    file.close()


@pytest.mark.parametrize("what", ["lock.mdb", "data.mdb"])
def test_what_was_done_to_a_file_by_hand_is_seen_before_long(
    tmp_path: Path, started: Start, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The table of readers removed, or an older copy written over the file in its place."""
    monkeypatch.setattr(live, "_READS", 5)
    write(tmp_path, "192.0.2.1")
    older = data(tmp_path).read_bytes()
    write(tmp_path, "192.0.2.2", revision=2)
    reader = started(tmp_path)
    assert reader.seen() == (2, {"smtp://192.0.2.2"})
    if what == "lock.mdb":
        (tmp_path / "data" / what).unlink()
        write(tmp_path, "192.0.2.3", revision=3)
    else:
        data(tmp_path).write_bytes(older.ljust(data(tmp_path).stat().st_size, b"\0"))
    found = [reader.seen() for _ in range(7)][-1]
    if what == "lock.mdb":
        assert found == (3, {"smtp://192.0.2.3"})
    else:
        assert found is None
        assert reader.trouble == "the live file was replaced by an older one"


def test_a_program_that_starts_waits_for_the_writer_to_make_the_file_whole(
    tmp_path: Path, started: Start
) -> None:
    write(tmp_path, "192.0.2.1", entries=MANY)
    give_back(tmp_path)
    reader = started(tmp_path)
    assert reader.seen(MANY - 1) is None
    with asking.writer(tmp_path):
        assert reader.seen(MANY - 1) == ONE
    assert reader.trouble == ""


def test_a_writer_that_is_killed_has_written_nothing_or_all(tmp_path: Path, started: Start) -> None:
    write(tmp_path, "192.0.2.1", entries=MANY)
    reader = started(tmp_path)
    relays, revision = ("192.0.2.1", "192.0.2.2"), 1
    for turn in range(12):
        read, written = os.pipe()
        content = asking.content(table(relays[revision % 2], MANY, revision + 1), revision + 1)

        def writes(content: Content = content, written: int = written) -> None:
            with asking.writer(tmp_path) as ours:
                os.write(written, b"x")
                ours.write(content)

        made = child(writes)
        os.read(read, 1)
        for _ in range(turn * 40):
            reader.seen(MANY - 1)
        os.kill(made, signal.SIGKILL)
        assert ended(made) in {0, -signal.SIGKILL}
        os.close(read)
        os.close(written)
        found = reader.seen(MANY - 1)
        assert found is not None
        assert found == started(tmp_path).seen(MANY - 1)  # one opened while the writer is dead
        assert found[0] in {revision, revision + 1}
        assert found[1] == {f"smtp://{relays[(found[0] - 1) % 2]}"}
        revision = found[0]
    write(tmp_path, "192.0.2.3", revision + 1, MANY)
    assert reader.seen(MANY - 1) == (revision + 1, {"smtp://192.0.2.3"})


def test_no_answer_is_of_two_revisions(tmp_path: Path, started: Start) -> None:
    """Another process turns from one to the other without a rest, while this one reads."""
    relays = ("192.0.2.1", "192.0.2.2")
    write(tmp_path, relays[0], 1, 200)
    reader = started(tmp_path)

    def flips() -> None:
        contents = [asking.content(table(relays[n], 200, n + 1), n + 1) for n in range(2)]
        with asking.writer(tmp_path) as ours:
            for turn in range(100_000):  # it is killed long before
                ours.write(contents[(turn + 1) % 2])

    made = child(flips)
    kinds = Counter[int]()
    while min(kinds[1], kinds[2]) < 100:
        found = reader.seen(199)
        assert found is not None
        assert found[1] == {f"smtp://{relays[found[0] - 1]}"}
        kinds[found[0]] += 1
    os.kill(made, signal.SIGKILL)
    assert ended(made) == -signal.SIGKILL


def test_however_many_readers_are_killed_the_next_one_reads(tmp_path: Path, started: Start) -> None:
    """LMDB has 126 places for them, and clears none as long as somebody has the file open."""
    write(tmp_path, "192.0.2.1")
    assert started(tmp_path).seen() == ONE  # and has it open to the end
    for _ in range(150):
        reads, tells = os.pipe()

        def read(tells: int = tells) -> None:
            signal.alarm(60)  # should nobody be there to kill it
            with asking.reader(tmp_path).read() as view:
                os.write(tells, b"%d" % view.meta.revision)
                signal.pause()

        made = child(read)
        os.close(tells)
        assert os.read(reads, 1) == b"1"
        os.close(reads)
        os.kill(made, signal.SIGKILL)
        assert ended(made) == -signal.SIGKILL


def test_a_table_of_readers_that_was_made_anew_is_entered_anew(
    tmp_path: Path, started: Start
) -> None:
    write(tmp_path, "192.0.2.1")
    reader = started(tmp_path)
    assert reader.seen() == ONE
    with (tmp_path / "data/lock.mdb").open("r+b") as lock:
        size = lock.seek(0, os.SEEK_END)
        lock.seek(128)  # behind the head, as a first writer clears it
        lock.write(b"\0" * (size - 128))
    assert reader.seen() == ONE
    assert reader.seen() == ONE
