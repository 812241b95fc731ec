"""The difference between two models, row by row: how an agent is told of a small change.

A delta is a list of documents `{"kind", "name", "member", "value"}`, in the order in which they are
to be done: what goes (`value` null), members before their owners, then what comes, owners before
their members. A row that only changes is one that comes. A subject may be in both halves where
what it belongs to was made anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from app.routing.change import READERS, Kind, Subject, apply
from app.routing.document import Document
from app.routing.errors import Fault, Invalid, Refused
from app.routing.model import row
from app.routing.names import parse_label, parse_name
from app.routing.reader import Reader
from app.routing.relay_map import OutOfService
from app.routing.routing_table import RoutingTable
from app.routing.rule import Rule
from app.routing.table import Table, TableKey, parse_key
from app.routing.uses import labels_in_use
from app.routing.writes import Delete, Put, changes_of

MAX_DELTA = 5_000
"""Rows; with more of them a whole model is about as quick."""

_COMING = (
    Kind.CREDENTIAL,
    Kind.RELAY_MAP,
    Kind.RELAY_STATE,
    Kind.TABLE,
    Kind.ENTRY,
    Kind.RULE,
)
_GOING = (
    Kind.RULE,
    Kind.ENTRY,
    Kind.TABLE,
    Kind.RELAY_STATE,
    Kind.RELAY_MAP,
    Kind.CREDENTIAL,
)
Row = tuple[Subject, Document | None]


@dataclass(frozen=True, slots=True)
class Delta:
    """What a model must have done to it to become another.

    Attributes:
        rows: the documents, in order.
        labels: the credentials in use that are new, or another revision, in the later model.
    """

    rows: tuple[Document, ...]
    labels: frozenset[str]


def delta_of(old: RoutingTable, new: RoutingTable, touched: Iterable[Subject]) -> Delta:
    """What makes the model of `new` out of the model of `old`.

    Args:
        old: a routing.
        new: a later one.
        touched: every subject that differs; it costs as much as they are, and as many entries as a
            table has that came to be keyed on something else.
    """
    subjects = dict.fromkeys(touched)
    rekeyed = {
        each.name
        for each in subjects
        if each.kind is Kind.TABLE and _is_rekeyed(old, new, each.name)
    }
    for name in rekeyed:
        keys = {*old.entries_of(name), *new.entries_of(name)}
        subjects.update(dict.fromkeys(Subject(Kind.ENTRY, name, key) for key in keys))
    going: list[Row] = []
    coming: list[Row] = []
    for subject in subjects:
        if subject.kind is not Kind.CREDENTIAL:
            before, after = row(old, subject), row(new, subject)
            anew = subject.kind is Kind.ENTRY and subject.name in rekeyed
            _file(going, coming, (subject, before), (subject, after), anew=anew)
    labels: list[str] = []
    used = labels_in_use(old), labels_in_use(new)
    for label in sorted(used[0] | used[1]):
        subject = Subject(Kind.CREDENTIAL, label)
        before = row(old, subject) if label in used[0] else None
        after = row(new, subject) if label in used[1] else None
        _file(going, coming, (subject, before), (subject, after), anew=False)
        if after is not None and (before is None or before["revision"] != after["revision"]):
            labels.append(label)
    ordered = (*_ordered(going, _GOING), *_ordered(coming, _COMING))
    return Delta(tuple(_document(subject, value) for subject, value in ordered), frozenset(labels))


def _is_rekeyed(old: RoutingTable, new: RoutingTable, name: str) -> bool:
    """Whether a table was made anew on another key: no entry of it is the one it was."""
    before, after = old.tables.get(name), new.tables.get(name)
    return before is not None and after is not None and before.key is not after.key


def _file(going: list[Row], coming: list[Row], before: Row, after: Row, *, anew: bool) -> None:
    if before == after and not anew:
        return
    if before[1] is not None and (after[1] is None or anew):
        going.append((before[0], None))
    if after[1] is not None:
        coming.append(after)


def _ordered(rows: list[Row], kinds: tuple[Kind, ...]) -> list[Row]:
    place = {kind: number for number, kind in enumerate(kinds)}
    return sorted(rows, key=lambda row: (place[row[0].kind], row[0].name, row[0].member))


def _document(subject: Subject, value: Document | None) -> Document:
    return {
        "kind": subject.kind.value,
        "name": subject.name,
        "member": subject.member,
        "value": value,
    }


# --- reading ----------------------------------------------------------------------------------


def read_delta(
    value: object, tables: Mapping[str, Table], limit: int = MAX_DELTA
) -> tuple[Put | Delete, ...]:
    """The writes that a delta describes, in order.

    Args:
        value: a list of documents.
        tables: of the model that it is for: the keys of their entries are read as theirs.
        limit: how many rows there may be.

    Raises:
        Invalid: it is no delta; what it does to a model is seen when it is done.
    """
    if not isinstance(value, list | tuple) or len(value) > limit:
        raise Invalid((Fault("bad-list", f"a list of at most {limit} objects is wanted", ""),))
    keys = {name: table.key for name, table in tables.items()}
    faults: list[Fault] = []
    writes: list[Put | Delete] = []
    for number, each in enumerate(value):
        try:
            write = _read_row(Reader(each), keys)
        except Invalid as invalid:
            faults.extend(fault.under(f"/{number}") for fault in invalid.faults)
            continue
        if isinstance(write, Put) and isinstance(write.value, Table):
            keys[write.value.name] = write.value.key
        writes.append(write)
    if faults:
        raise Invalid(tuple(faults))
    return tuple(writes)


def _read_row(reader: Reader, keys: Mapping[str, TableKey]) -> Put | Delete:
    kind = reader.choice("kind", Kind, None)
    if kind is None:
        reader.fault("missing", "a row needs a kind", "kind")
    name = reader.needed("name", partial(_name, kind), "")
    member = reader.needed("member", partial(_member, kind, keys.get(name)), "")
    value = reader.child("value")
    reader.close()
    reader.refuse_if_faulty()
    subject = Subject(kind or Kind.RULE, name, member)
    return Delete(subject) if value is None else _put(subject, value)


def _name(kind: Kind | None, text: str) -> str:
    """The name of a subject, in its one spelling. Raises Refused."""
    parse = parse_label if kind is Kind.CREDENTIAL else parse_name
    return _exactly(parse(text), text)


def _member(kind: Kind | None, key: TableKey | None, text: str) -> str:
    """The member of a subject, in its one spelling.

    Raises:
        Refused: it is none for that kind, or not spelt so.
    """
    canonical = ""
    if kind is Kind.RELAY_STATE:
        canonical = parse_label(text)
    elif kind is Kind.ENTRY:
        if key is None:
            raise Refused("bad-key", "there is no table that this is an entry of")
        canonical = parse_key(key, text)
    return _exactly(canonical, text)


def _exactly(canonical: str, text: str) -> str:
    if canonical != text:
        raise Refused("bad-key", "this is not its one spelling")
    return text


def _put(subject: Subject, reader: Reader) -> Put:
    """A row that comes. Raises Invalid where its value is not its own."""
    try:
        value = READERS[subject.kind](reader.members)
    except Invalid as invalid:
        raise Invalid(tuple(fault.under("/value") for fault in invalid.faults)) from None
    if value is None or _name_in(subject, reader.members) != (subject.member or subject.name):
        raise Invalid((Fault("name-differs", "the value is of another subject", "/value"),))
    if isinstance(value, Rule) and not value.enabled:
        raise Invalid((Fault("bad-choice", "a model has no rule that is off", "/value/enabled"),))
    if isinstance(value, OutOfService) and value.reason:
        raise Invalid((Fault("unknown-member", "a model has no reasons", "/value/reason"),))
    return Put(subject, value)


def _name_in(subject: Subject, members: Mapping[str, object]) -> object:
    if subject.kind is Kind.RELAY_STATE:
        return subject.member
    if subject.kind is Kind.ENTRY:
        return members.get("key")
    return members.get("label" if subject.kind is Kind.CREDENTIAL else "name")


def done(table: RoutingTable, writes: Iterable[Put | Delete], revision: int) -> RoutingTable:
    """The routing that a delta makes of one; whoever calls compares its digest.

    Raises:
        Unknown: it takes away, or needs, what is not there.
        Invalid: it gives a table with entries another key.
    """
    return apply(table, changes_of(table, writes), revision)
