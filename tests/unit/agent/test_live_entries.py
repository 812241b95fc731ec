"""What the live file says of all entries of a table is what is found by looking at them."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.agent import live_entries
from app.agent.live_entries import StoredEntries, entries_of, mark_of, write_tables
from app.agent.live_file import LiveFile
from app.routing.credential import Credential
from app.routing.entries import TableEntries
from app.routing.hop_kinds import Credentials
from app.routing.next_hop import EntryHop, parse_entry_hop
from app.routing.routing_table import RoutingTable
from app.routing.table import Table, TableKey

pytestmark = pytest.mark.io

GIVEN = {"one": Credential("one", 1, ("*.example",))}
FEW = {
    "a.test": "tls://one@r.example",
    "b.test": "tls://one@s.example",
    "c.test": "mx",
    "d.test": "map:m",
    "e.test": "ssl://r.example:25",
    "f.test": "smtps://192.0.2.1",
    "g.test": "tls://one@elsewhere.test",
}


def hops(texts: dict[str, str]) -> dict[str, EntryHop]:
    return {key: parse_entry_hop(text) for key, text in texts.items()}


class Kept:
    """A live file with one table."""

    def __init__(self, file: LiveFile) -> None:
        self.file = file
        self.routing = RoutingTable(
            1, tables={"t": Table("t", TableKey.RECIPIENT_DOMAIN)}, credentials=GIVEN
        )

    def write(self, entries: TableEntries, credentials: Credentials = GIVEN) -> None:
        routing = replace(self.routing, entries={"t": entries}, credentials=credentials)
        with self.file._open.begin(write=True) as transaction:
            write_tables(transaction, routing, (), {}, 1, 0)

    def read(self, credentials: Credentials = GIVEN) -> TableEntries:
        beside = credentials, mark_of(credentials)
        with self.file.begin() as transaction:
            return entries_of(self.file.begin, transaction, "t", beside)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    file = LiveFile(tmp_path, os.getgid())
    file.open()
    yield Kept(file)
    file.close()


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables whose entries were looked through, each time."""
    found: list[str] = []
    all_of = StoredEntries._all

    def counted(entries: StoredEntries) -> dict[str, EntryHop]:
        found.append(entries.table)
        return all_of(entries)

    monkeypatch.setattr(StoredEntries, "_all", counted)
    return found


def is_alike(found: TableEntries, wanted: dict[str, EntryHop], credentials: Credentials) -> None:
    anew = TableEntries(wanted)
    assert found.digest == anew.digest
    assert dict(found.kinds) == dict(anew.kinds)
    assert dict(found.doubtful(credentials)) == dict(anew.doubtful(credentials))


@pytest.mark.parametrize("most", [20_000, 3])
def test_what_is_known_is_carried_on_in_the_file(
    kept: Kept, walks: list[str], monkeypatch: pytest.MonkeyPatch, most: int
):
    """With few different next hops as with more than are written down."""
    monkeypatch.setattr(live_entries, "_MOST_HOPS", most)
    wanted = hops(FEW)
    kept.write(TableEntries(wanted))
    steps = [{"a.test": "tls://one@new.test"}, {"g.test": "mx", "h.test": "tls://gone@r.example"}]
    for step in steps:
        wanted |= hops(step)
        entries = kept.read().after(hops(step))
        is_alike(entries, wanted, GIVEN)
        kept.write(entries)
        is_alike(kept.read(), wanted, GIVEN)
    assert walks == []


def test_what_is_doubtful_is_found_anew_beside_other_credentials(kept: Kept, walks: list[str]):
    wanted, other = hops(FEW), {"one": Credential("one", 1, ("elsewhere.test",))}
    kept.write(TableEntries(wanted))
    assert len(kept.read(other).doubtful(other)) == 3
    entries = kept.read()
    assert len(entries.doubtful(GIVEN)) == 2
    kept.write(entries, other)
    is_alike(kept.read(other), wanted, other)
    found = kept.read(other)
    found.doubtful(other)
    kept.write(found, other)
    assert kept.read(other).known.doubtful is not None
    assert kept.read(GIVEN).known.doubtful is None
    assert walks == []


def test_a_file_that_says_nothing_of_kinds_is_looked_through_once(kept: Kept, walks: list[str]):
    """As an agent wrote it that knew of none."""
    wanted = hops(FEW)
    kept.write(TableEntries(wanted))
    with kept.file._open.begin(write=True) as transaction:
        row = transaction.get(b"known\0t")
        assert row is not None
        assert b'"kinds"' in row
        transaction.put(b"known\0t", bytes(row).replace(b'"kinds"', b'"other"'))
        transaction.delete(b"doubts\0t")
    entries = kept.read().after(hops({"a.test": "mx"}))
    kept.write(entries)
    is_alike(kept.read(), wanted | hops({"a.test": "mx"}), GIVEN)
    assert walks == ["t"]
