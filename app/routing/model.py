"""The model that an MTA is given: routing less what only people read, as a document with a digest.

Server and agent compute the digest alike; passwords are represented by label and revision, and the
entries of each table by a digest that is carried on from edit to edit.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from operator import lt
from typing import cast

from app.routing import document
from app.routing.change import READERS, WRITERS, Kind, Subject, apply, current
from app.routing.document import Document
from app.routing.entries import TableEntries
from app.routing.entries_digest import EntriesDigest
from app.routing.next_hop import EntryHop
from app.routing.ordering import in_order
from app.routing.reader import Reader
from app.routing.relay_map import OutOfService
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.rule import Rule
from app.routing.shards import Builder
from app.routing.table import Table, parse_key
from app.routing.uses import labels_in_use
from app.routing.writes import Put, changes_of

_FOR_PEOPLE = ("description", "comment")
_SLICE = 1_000
"""Entries that are written down, or read, at a time."""


def model_json(table: RoutingTable) -> Iterator[str]:
    """The model as JSON, in pieces: rules that are on, maps, states, tables, credentials in use.

    A million entries as one document would be half a gigabyte, and nobody else would run while it
    is written down.
    """
    bare = bare_document(table, labels_in_use(table))
    tables = cast("list[Document]", bare.pop("tables"))
    yield f'{_open(bare)},"tables":['
    for number, each in enumerate(tables):
        yield f'{"," if number else ""}{_open(each)},"entries":['
        entries = table.entries_of(cast("str", each["name"]))
        keys = in_order([key for leaf in entries.leaves() for key in leaf])
        for start in range(0, len(keys), _SLICE):
            some = keys[start : start + _SLICE]
            pairs = [[key, str(hop)] for key, hop in zip(some, entries.get_all(some), strict=True)]
            yield f"{',' if start else ''}{json.dumps(pairs, ensure_ascii=False)[1:-1]}"
        yield "]}"
    yield "]}"


def _open(document: Document) -> str:
    """The JSON of a document that has members, without its end."""
    return json.dumps(document, ensure_ascii=False)[:-1]


def bare_document(table: RoutingTable, labels: Collection[str]) -> Document:
    """The model without the entries of its tables.

    Args:
        table: the routing; its entries are not looked at.
        labels: of the credentials in use.
    """
    tables, out = sorted(table.tables), sorted(table.states)
    return {
        "relay_maps": [_row_of(table, Kind.RELAY_MAP, name) for name in sorted(table.maps)],
        "out": [list(key) for key in out],
        "tables": [_row_of(table, Kind.TABLE, name) for name in tables],
        "rules": [_bare(document.rule_document(rule)) for rule in table.ordered],
        "credentials": [
            _row_of(table, Kind.CREDENTIAL, label)
            for label in sorted(labels)
            if label in table.credentials
        ],
    }


def row(table: RoutingTable, subject: Subject) -> Document | None:
    """What the model says of a subject; None where it says nothing of it.

    A model is made of these rows: two that have the same have the same digest. A credential has
    its row only where it is in use, and that is for the caller to know.
    """
    value = current(table, subject)
    if value is None or (isinstance(value, Rule) and not value.enabled):
        return None
    if subject.kind is Kind.RELAY_STATE:
        return document.state_document(OutOfService())
    if subject.kind is Kind.ENTRY:
        return document.entry_document(subject.member, value)  # type: ignore[arg-type]
    return _bare(WRITERS[subject.kind](value))


def _row_of(table: RoutingTable, kind: Kind, name: str) -> Document | None:
    return row(table, Subject(kind, name))


def _bare(value: Document) -> Document:
    bare = {name: member for name, member in value.items() if name not in _FOR_PEOPLE}
    if "relays" in bare:
        bare["relays"] = [_bare(relay) for relay in value["relays"]]  # type: ignore[attr-defined]
    return bare


def model_digest(table: RoutingTable) -> str:
    """The digest of the model, in hex: as much work as was edited since it was asked for last."""
    digests = {name: table.entries_of(name).digest for name in table.tables}
    return digest_of(bare_document(table, labels_in_use(table)), digests)


def digest_of(bare: Document, entries: Mapping[str, EntriesDigest]) -> str:
    """SHA-256, in hex, of the canonical JSON of the model in which digests stand for entries.

    Args:
        bare: as `bare_document` makes it.
        entries: the digest of the entries of each table.
    """
    listed = [[name, entries[name].count, entries[name].hex()] for name in sorted(entries)]
    return document.digest(bare | {"entries": listed})


def read_model(value: object, revision: int) -> RoutingTable:
    """The routing that a model describes; its digest is the model's.

    Raises:
        Invalid: the document is no model.
        Unknown: it marks a relay as out that it does not hold.
    """
    reader = Reader(value)
    writes: list[Put] = []
    writes.extend(_puts(reader, "relay_maps", Kind.RELAY_MAP, "name"))
    writes.extend(_puts(reader, "rules", Kind.RULE, "name"))
    writes.extend(_puts(reader, "credentials", Kind.CREDENTIAL, "label"))
    entries: dict[str, TableEntries] = {}
    for part in reader.children("tables"):
        read = document.read_table({n: each for n, each in part.members.items() if n != "entries"})
        writes.append(Put(Subject(Kind.TABLE, read.name), read))
        entries[read.name] = _entries(read, part)
    for relay_map, relay in reader.pairs("out"):
        writes.append(Put(Subject(Kind.RELAY_STATE, relay_map, relay), OutOfService()))
    reader.close()
    reader.refuse_if_faulty()
    return replace(apply(EMPTY, changes_of(EMPTY, writes), revision), entries=entries)


def _puts(reader: Reader, member: str, kind: Kind, name: str) -> Iterator[Put]:
    for part in reader.children(member):
        read = READERS[kind](part.members)
        yield Put(Subject(kind, getattr(read, name)), read)  # type: ignore[arg-type]


def _entries(table: Table, part: Reader) -> TableEntries:
    """The entries of a table that is read. Of millions few next hops differ."""
    hops: dict[str, EntryHop] = {}
    builder: Builder[str, EntryHop] = Builder()
    keys: list[str] = []
    found: list[EntryHop] = []
    pairs = part.pairs("entries")
    while some := list(islice(pairs, _SLICE)):
        for _, via in some:
            if via not in hops:
                hops[via] = document.read_entry_hop({"key": "", "via": via})
        keys += [parse_key(table.key, key) for key, _ in some]
        found += [hops[via] for _, via in some]
        builder.add(keys[-len(some) :], found[-len(some) :])
    made = TableEntries(builder.made())
    if all(map(lt, keys, islice(keys, 1, None))):
        made.known.in_order = keys, found
    return made
