"""The model that an MTA is given: routing less what only people read, as a document with a digest.

Server and agent compute the digest alike; passwords are represented by label and revision.
"""

from collections.abc import Iterator

from app.routing import document
from app.routing.change import READERS, Kind, Put, Subject, apply, changes_of
from app.routing.document import Document
from app.routing.reader import Reader
from app.routing.relay_map import OutOfService
from app.routing.routing_table import EMPTY, RoutingTable
from app.routing.rule import Rule
from app.routing.table import parse_key
from app.routing.uses import labels_in_use

_FOR_PEOPLE = ("description", "comment")


def model_document(table: RoutingTable) -> Document:
    """The model as a document: enabled rules in order, maps, states, tables, credentials in use."""
    used = labels_in_use(table)
    return {
        "relay_maps": [
            _bare(document.relay_map_document(table.maps[name])) for name in sorted(table.maps)
        ],
        "out": [list(key) for key in sorted(table.states)],
        "tables": [_table(table, name) for name in sorted(table.tables)],
        "rules": [_rule(rule) for rule in table.ordered],
        "credentials": [
            document.credential_document(table.credentials[label])
            for label in sorted(used)
            if label in table.credentials
        ],
    }


def _bare(value: Document) -> Document:
    bare = {name: member for name, member in value.items() if name not in _FOR_PEOPLE}
    if "relays" in bare:
        bare["relays"] = [_bare(relay) for relay in value["relays"]]  # type: ignore[attr-defined]
    return bare


def _table(table: RoutingTable, name: str) -> Document:
    entries = table.entries[name]
    bare = _bare(document.table_document(table.tables[name]))
    return bare | {"entries": [[key, str(entries[key])] for key in sorted(entries)]}


def _rule(rule: Rule) -> Document:
    return _bare(document.rule_document(rule))


def model_digest(table: RoutingTable) -> str:
    """SHA-256 of the canonical JSON of the model, in hex."""
    return document.digest(model_document(table))


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
    for part in reader.children("tables"):
        writes.extend(_table_puts(part))
    for relay_map, relay in reader.pairs("out"):
        writes.append(Put(Subject(Kind.RELAY_STATE, relay_map, relay), OutOfService()))
    reader.close()
    reader.refuse_if_faulty()
    return apply(EMPTY, changes_of(EMPTY, writes), revision)


def _puts(reader: Reader, member: str, kind: Kind, name: str) -> Iterator[Put]:
    for part in reader.children(member):
        read = READERS[kind](part.members)
        yield Put(Subject(kind, getattr(read, name)), read)  # type: ignore[arg-type]


def _table_puts(part: Reader) -> Iterator[Put]:
    bare = {name: member for name, member in part.members.items() if name != "entries"}
    table = document.read_table(bare)
    yield Put(Subject(Kind.TABLE, table.name), table)
    for key, via in part.pairs("entries"):
        hop = document.read_entry_hop({"key": key, "via": via})
        yield Put(Subject(Kind.ENTRY, table.name, parse_key(table.key, key)), hop)
