"""One changed entry in memory: the routing, its findings and its marks, at two sizes of a table."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

from app import garbage
from app.routing.change import Change, Kind, Subject, apply
from app.routing.check import findings
from app.routing.document import read_relay_map, read_rule
from app.routing.entries import TableEntries
from app.routing.next_hop import EntryHop, ViaMap, parse_entry_hop
from app.routing.routing_table import RoutingTable
from app.server.live import Mark, Marks, Snapshot
from bench import million
from bench.rounds import Figure, Limit, interleave
from bench.routings import map_document, rule_document

MANY, FEW = 1_000_000, 10_000
_EDITS = 500
_RULES = 10
_AT = datetime(2026, 11, 22, tzinfo=UTC)


def measure() -> Figure:
    """Processor time of one edit, in microseconds."""
    runs = {f"among {entries:,} entries": _edits(_snapshot(entries)) for entries in (MANY, FEW)}
    garbage.spare()
    return interleave(
        "one changed entry in memory: routing, findings and marks",
        "CPU µs an edit",
        runs,
        limits={f"among {MANY:,} entries": Limit(times=3)},
    )


def _snapshot(entries: int) -> Snapshot:
    relay_map = read_relay_map(map_document())
    hops: list[EntryHop] = [ViaMap(relay_map.name)]
    hops += [parse_entry_hop(f"smtp://mx{number}.example.net") for number in range(1_000)]
    keys = [million.key(number) for number in range(entries)]
    via = f"table:{million.TABLE.name}"
    documents = [
        rule_document(number) | {"action": {"kind": "relay", "via": via}}
        for number in range(_RULES)
    ]
    rules = [read_rule(document) for document in documents]
    table = RoutingTable(
        revision=1,
        maps={relay_map.name: relay_map},
        tables={million.TABLE.name: million.TABLE},
        entries={
            million.TABLE.name: TableEntries(
                {key: hops[number % len(hops)] for number, key in enumerate(keys)}
            )
        },
        rules={rule.name: rule for rule in rules},
    )
    table.prepare()
    marks = Marks.of((), {million.TABLE.name: dict.fromkeys(keys, Mark(1, _AT, _AT))})
    return Snapshot("bench", table, marks)


def _edits(snapshot: Snapshot) -> Callable[[], float]:
    numbers = count(2000)
    keys = [million.key(number) for number in range(0, FEW, FEW // _EDITS)]
    held = [snapshot]

    def run() -> float:
        hop = parse_entry_hop(f"smtp://mx9.example.net:{next(numbers)}")
        started = time.process_time()
        for key in keys:
            held[0] = _edited(held[0], key, hop)
        return (time.process_time() - started) / len(keys) * 1e6

    return run


def _edited(snapshot: Snapshot, key: str, hop: EntryHop) -> Snapshot:
    subject = Subject(Kind.ENTRY, million.TABLE.name, key)
    before = snapshot.table.entries_of(million.TABLE.name)[key]
    changes = [Change(subject, before, hop)]
    table = apply(snapshot.table, changes, snapshot.revision + 1)
    findings(table)
    return Snapshot("bench", table, snapshot.marks.after(changes, table.revision, _AT))
