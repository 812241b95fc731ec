"""The live file as the agent finds it: its own, none, or one that it cannot use."""

import os
import signal
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import lmdb
import pytest

from app.agent.live_entries import entries_of, write_tables
from app.agent.live_file import LiveFile
from app.routing.entries import TableEntries
from app.routing.entries_digest import EntriesDigest
from app.routing.live_file import META, Meta
from app.routing.next_hop import parse_entry_hop
from app.routing.routing_table import RoutingTable
from app.routing.table import Table, TableKey

pytestmark = pytest.mark.io


def opened(directory: Path) -> LiveFile:
    file = LiveFile(directory, os.getgid())
    file.open()
    return file


def test_a_fresh_file_is_nobodys(tmp_path: Path):
    file = opened(tmp_path)
    assert file.meta() == Meta()
    assert file.routing().maps == {}
    file.close()


@pytest.mark.parametrize("content", ["another format", "no file of LMDB"])
def test_a_file_of_others_is_set_aside_and_written_anew(tmp_path: Path, content: str):
    file = opened(tmp_path)
    file.close()
    data = tmp_path / "data/data.mdb"
    if content == "another format":
        with lmdb.open(str(tmp_path / "data")) as there, there.begin(write=True) as transaction:
            transaction.put(META, b'{"format":2}')
    else:
        data.write_bytes(b"not a page of it" * 1024)
    before = data.read_bytes()
    file = opened(tmp_path)
    assert file.meta() == Meta()
    assert (tmp_path / "data/set-aside.mdb").read_bytes() == before
    file.close()


_LIMIT_S = 60


def in_a_process(act: Callable[[], object]) -> int:
    """A process that has done something, keeps what it has, and waits to be killed."""
    reads, tells = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(_LIMIT_S)  # should nobody be there to kill it
        held = act()
        os.write(tells, b"1" if held is not None else b"0")
        signal.pause()
    os.close(tells)
    assert os.read(reads, 1) == b"1"
    os.close(reads)
    return child


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def kill_readers(directory: Path, count: int) -> None:
    """Take places of readers, each by a process that is killed while it reads."""

    def read() -> object:
        there = lmdb.open(str(directory / "data"), readonly=True)
        return there, there.begin()

    for _ in range(count):
        end(in_a_process(read))


def test_readers_that_were_killed_leave_their_places(tmp_path: Path):
    """LMDB has 126, and asks nobody whether he still lives before it says that all are taken."""
    opened(tmp_path).close()
    # As long as one has it open they stay taken. Whoever has, as we below, can start no reader.
    other = in_a_process(lambda: lmdb.open(str(tmp_path / "data"), readonly=True))
    begins, tells = os.pipe()
    later = os.fork()
    if later == 0:
        signal.alarm(_LIMIT_S)
        os.read(begins, 1)
        kill_readers(tmp_path, 126)
        os._exit(0)
    kill_readers(tmp_path, 125)
    file = opened(tmp_path)
    assert places_taken(file) == 0
    os.write(tells, b"1")
    assert os.waitpid(later, 0)[1] == 0
    assert places_taken(file) == 126
    with pytest.raises(lmdb.ReadersFullError):
        file._open.begin()
    assert file.meta() == Meta()
    assert places_taken(file) <= 1, "of the last look"
    file.close()
    end(other)


def places_taken(file: LiveFile) -> int:
    """How many lines there are below the head of LMDB's table of readers."""
    return len(file._open.readers().splitlines()[1:])


def take_and_give_back(environment: lmdb.Environment) -> None:
    """Write something, and take pages at the end of the file for what is not there in the end."""
    for n in range(6):  # so that there are free pages, with which those given back are counted
        with environment.begin(write=True) as transaction:
            transaction.put(b"one", bytes(3000 + n))
    with environment.begin(write=True) as transaction:
        transaction.put(b"other", bytes(100_000))
        transaction.delete(b"other")
        transaction.put(b"one", b"")


def lacks(environment: lmdb.Environment, data: Path) -> int:
    """How many octets the file is shorter than it says."""
    pages = environment.info()["last_pgno"] + 1
    length: int = pages * environment.stat()["psize"] - data.stat().st_size
    return length


@pytest.mark.parametrize("next_is", ["another start", "a word of health", "an address"])
def test_pages_that_were_given_back_are_in_the_file(tmp_path: Path, next_is: str):
    """LMDB counts them, and does not write them; a program would take the file for cut off."""
    file = opened(tmp_path)
    with file._open.begin(write=True) as transaction:
        transaction.put(META, Meta(history="h").row())
    take_and_give_back(file._open)
    data = tmp_path / "data/data.mdb"
    assert lacks(file._open, data) > 0
    if next_is == "another start":
        file.close()
        file = opened(tmp_path)
    elif next_is == "a word of health":
        file.tell(frozenset({("pool", "r0")}))
    else:
        file.notice((ip_address("192.0.2.1"),))
    assert lacks(file._open, data) <= 0
    assert file.meta().history == "h"
    file.close()


def test_an_address_is_noticed_once(tmp_path: Path):
    file = opened(tmp_path)
    file.notice((ip_address("192.0.2.1"),))
    assert file.meta().addresses == ()  # nobody's file has none
    with file._open.begin(write=True) as transaction:
        transaction.put(META, Meta(history="h").row())
    file.notice((ip_address("192.0.2.1"),))
    snapshot = file._open.info()["last_txnid"]
    file.notice((ip_address("192.0.2.1"),))
    assert file.meta().addresses == (ip_address("192.0.2.1"),)
    assert file._open.info()["last_txnid"] == snapshot
    file.close()


def test_next_hops_that_are_equal_are_kept_as_they_are_spelt(tmp_path: Path):
    """The digest tells spellings apart: what is read again must go on from the same one."""
    texts = [
        "smtp://r.example",
        "r.example",
        "r.example:25",
        "ssl://r.example",
        "smtps://r.example",
    ]
    hops = {f"k{n}.example": parse_entry_hop(text) for n, text in enumerate(texts)}
    table = Table("t", TableKey.RECIPIENT_DOMAIN, None)
    routing = RoutingTable(tables={"t": table}, entries={"t": TableEntries(hops)})
    with lmdb.open(str(tmp_path)) as file:
        with file.begin(write=True) as transaction:
            write_tables(transaction, routing, (), {}, 1, 0)
        with file.begin() as transaction:
            kept = entries_of(file.begin, transaction, "t", ({}, ""))
        assert {key: str(hop) for key, hop in kept.items()} == {
            key: str(hop) for key, hop in hops.items()
        }
        edited = kept.after({key: parse_entry_hop("mx") for key in hops})
        assert edited.digest == EntriesDigest.of(dict(edited))
        assert not edited.noted
