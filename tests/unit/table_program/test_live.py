"""The live file as it is read while others write it, put others in its place, or cut it off."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.routing.next_hop import MX, EntryHop, parse_entry_hop
from app.routing.routing_table import RoutingTable
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


def data(where: Path) -> Path:
    return where / "data/data.mdb"


def test_a_file_that_comes_later_is_read(tmp_path: Path) -> None:
    file = asking.reader(tmp_path)
    for _ in range(2):
        with pytest.raises(CannotRead, match="there is no live file"), file.read():
            pass
    write(tmp_path, "192.0.2.1")
    assert seen(file) == (1, {"smtp://192.0.2.1"})
    assert file.trouble == ""


def test_an_older_copy_is_not_read_and_a_newer_file_is(tmp_path: Path) -> None:
    write(tmp_path, "192.0.2.1")
    older = tmp_path / "older"
    shutil.copy(data(tmp_path), older)
    write(tmp_path, "192.0.2.2", 2)
    file = asking.reader(tmp_path)
    assert seen(file) == (2, {"smtp://192.0.2.2"})
    newer = tmp_path / "newer"
    shutil.copy(data(tmp_path), newer)
    older.rename(data(tmp_path))
    for _ in range(2):
        assert seen(file) == (2, {"smtp://192.0.2.2"})
        assert file.trouble == "the live file was replaced by an older one"
    newer.rename(data(tmp_path))
    assert seen(file) == (2, {"smtp://192.0.2.2"})
    assert file.trouble == ""
    write(tmp_path, "192.0.2.3", 3)
    assert seen(file) == (3, {"smtp://192.0.2.3"})


@pytest.mark.parametrize("held", [b"", b"x" * 100, b"\0" * 65_536, os.urandom(65_536)])
def test_a_file_that_is_none_of_ours_is_not_read(tmp_path: Path, held: bytes) -> None:
    write(tmp_path, "192.0.2.1")
    file = asking.reader(tmp_path)
    assert seen(file) == (1, {"smtp://192.0.2.1"})
    (tmp_path / "garbage").write_bytes(held)
    (tmp_path / "garbage").rename(data(tmp_path))
    assert seen(file) == (1, {"smtp://192.0.2.1"})
    assert file.trouble.startswith("the live file is not one of ours")
    with pytest.raises(CannotRead), asking.reader(tmp_path).read():
        pass


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
    tmp_path: Path, where: bytes, row: bytes
) -> None:
    """It is never read as something else, and what is written next is read again."""
    write(tmp_path, "192.0.2.1")
    file = asking.reader(tmp_path)
    seen(file)
    with asking.writer(tmp_path) as ours:
        with ours._open.begin(write=True) as transaction:
            before = transaction.get(where)
            transaction.put(where, row)
            if where != b"meta":
                meta = bytes(transaction.get(b"meta")).replace(b'"structure":1', b'"structure":2')
                transaction.put(b"meta", meta)
        for _ in range(2):
            with pytest.raises(CannotRead):
                seen(file)
        with pytest.raises(CannotRead):
            seen(asking.reader(tmp_path))
        with ours._open.begin(write=True) as transaction:
            if before is None:
                transaction.delete(where)
            else:
                transaction.put(where, before)
    assert seen(file) == (1, {"smtp://192.0.2.1"})
    assert file.trouble == ""


@pytest.mark.parametrize("left", [0, 1, 4096, 4400, 8192, 40_000])
def test_a_file_that_was_cut_off_kills_nobody(tmp_path: Path, left: int) -> None:
    """What is mapped beyond the end of a file is SIGBUS for who looks there."""
    write(tmp_path, "192.0.2.1", entries=MANY)

    def reads() -> None:
        file = asking.reader(tmp_path)
        assert seen(file, MANY - 1) == (1, {"smtp://192.0.2.1"})
        assert ended(child(lambda: os.truncate(data(tmp_path), left))) == 0
        for each in (file, asking.reader(tmp_path)):
            for _ in range(2):
                with pytest.raises(CannotRead):
                    seen(each, MANY - 1)
                assert each.trouble

    assert ended(child(reads)) == 0


def test_a_writer_that_is_killed_has_written_nothing_or_all(tmp_path: Path) -> None:
    write(tmp_path, "192.0.2.1", entries=MANY)
    file = asking.reader(tmp_path)
    relays, revision = ("192.0.2.1", "192.0.2.2"), 1
    for turn in range(12):
        read, written = os.pipe()
        new = table(relays[revision % 2], MANY, revision + 1)

        def writes() -> None:
            with asking.writer(tmp_path) as ours:
                os.write(written, b"x")  # noqa: B023  it runs at once, in a child
                ours.write(asking.content(new, revision + 1))  # noqa: B023

        made = child(writes)
        os.read(read, 1)
        for _ in range(turn * 20):
            seen(file, MANY - 1)
        os.kill(made, signal.SIGKILL)
        assert ended(made) in {0, -signal.SIGKILL}
        os.close(read)
        os.close(written)
        found = seen(file, MANY - 1)
        assert found == seen(asking.reader(tmp_path), MANY - 1)  # one opened while it is dead
        assert found[0] in {revision, revision + 1}
        assert found[1] == {f"smtp://{relays[(found[0] - 1) % 2]}"}
        revision = found[0]
    write(tmp_path, "192.0.2.3", revision + 1, MANY)
    assert seen(file, MANY - 1) == (revision + 1, {"smtp://192.0.2.3"})


def test_no_answer_is_of_two_revisions(tmp_path: Path) -> None:
    """Another process turns from one to the other without a rest, while this one reads."""
    relays = ("192.0.2.1", "192.0.2.2")
    write(tmp_path, relays[0], 1, 200)

    def flips() -> None:
        contents = [asking.content(table(relays[n], 200, n + 1), n + 1) for n in range(2)]
        with asking.writer(tmp_path) as ours:
            for turn in range(300):
                ours.write(contents[(turn + 1) % 2])

    made = child(flips)
    file = asking.reader(tmp_path)
    kinds, reads = set[int](), 0
    while os.waitid(os.P_PID, made, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None or reads < 100:
        revision, hops = seen(file, 199)
        assert hops == {f"smtp://{relays[revision - 1]}"}
        kinds.add(revision)
        reads += 1
    assert ended(made) == 0
    assert kinds == {1, 2}
