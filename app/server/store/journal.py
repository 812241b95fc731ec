"""The journal: what each revision changed, before and after, chained by checksums."""

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from app.routing.change import (
    Change,
    EntryChanges,
    Kind,
    Part,
    Subject,
    joined,
    parts_of,
    read_value,
    value_document,
)
from app.routing.document import canonical_json
from app.routing.errors import ControlError, RevisionPruned, Unknown
from app.server.storage import Edit, RevisionRow, StorageDamaged
from app.server.store.packing import packed, unpacked
from app.server.store.schema import journal, revisions

START = ""
"""The checksum before the first row."""

_NONCE_BYTES = 16
PACKED = "packed"
"""The member of a document that stands for many entries: how many octets they are."""


def new_nonce() -> str:
    """What tells one commit from another that says the same."""
    return secrets.token_hex(_NONCE_BYTES)


def encode(changes: Iterable[Change]) -> tuple[str, bytes | None]:
    """Changes as the journal keeps them, and those of many entries, compressed.

    A secret is no part of any value of a change.
    """
    documents: list[dict[str, object]] = []
    kept: list[bytes] = []
    for part in parts_of(changes):
        if isinstance(part, EntryChanges):
            kept.append(packed(part))
            documents.append(_beside(part, kept[-1]))
        else:
            documents += map(_document, part)
    return canonical_json(documents).decode(), b"".join(kept) if kept else None


def _beside(part: EntryChanges, kept: bytes) -> dict[str, object]:
    """What stands for the next octets of those that are kept beside."""
    return {
        "kind": Kind.ENTRY.value,
        "name": part.table,
        "count": len(part),
        PACKED: len(kept),
        "sha256": hashlib.sha256(kept).hexdigest(),
    }


def _document(change: Change) -> dict[str, object]:
    subject = change.subject
    return {
        "kind": subject.kind.value,
        "name": subject.name,
        "member": subject.member,
        "before": value_document(subject, change.before),
        "after": value_document(subject, change.after),
    }


def decode(text: str, kept: bytes | None = None) -> Sequence[Change]:
    """The changes that `encode` wrote.

    Raises:
        StorageDamaged: they cannot be read.
    """
    try:
        return joined(_parts(json.loads(text), kept or b""))
    except (ControlError, KeyError, TypeError, ValueError) as wrong:
        raise StorageDamaged("a journal row cannot be read") from wrong


def _parts(documents: list[dict[str, Any]], kept: bytes) -> Iterator[Part]:
    start = 0
    for is_beside, alike in groupby(documents, key=lambda document: PACKED in document):
        if not is_beside:
            yield tuple(map(_change, alike))
            continue
        for document in alike:
            end = start + document[PACKED]
            own, start = kept[start:end], end
            if hashlib.sha256(own).hexdigest() != document["sha256"]:
                raise StorageDamaged("many entries of the journal are not what was written")
            yield unpacked(document["name"], own)


def _change(document: dict[str, Any]) -> Change:
    subject = Subject(Kind(document["kind"]), document["name"], document["member"])
    before, after = document["before"], document["after"]
    return Change(subject, read_value(subject, before), read_value(subject, after))


def checksum(row: RevisionRow, nonce: str, changes: str, previous: str) -> str:
    """SHA-256, in hex, over all that a revision says and the checksum of the one before."""
    signed = [
        row.revision,
        row.author,
        row.message,
        row.created_at.isoformat(),
        row.change_count,
        nonce,
        changes,
        previous,
    ]
    return hashlib.sha256(canonical_json(signed)).hexdigest()


def write(connection: Connection, edit: Edit, nonce: str, previous: str) -> str:
    """Add an edit to the journal; its checksum."""
    row = RevisionRow(edit.revision, edit.author, edit.message, edit.at, len(edit.changes))
    changes, kept = encode(edit.changes)
    own = checksum(row, nonce, changes, previous)
    connection.execute(
        insert(revisions).values(
            revision=row.revision,
            author=row.author,
            message=row.message,
            created_at=row.created_at,
            change_count=row.change_count,
        )
    )
    connection.execute(
        insert(journal).values(
            revision=row.revision,
            nonce=nonce,
            changes=changes,
            packed=kept,
            previous=previous,
            checksum=own,
        )
    )
    return own


def has(connection: Connection, revision: int, nonce: str) -> bool:
    """Whether that revision is the one that was written with this nonce."""
    found = select(journal.c.nonce).where(journal.c.revision == revision)
    return connection.execute(found).scalar() == nonce


def rows(connection: Connection, limit: int, before: int | None) -> tuple[RevisionRow, ...]:
    """Revisions below `before`, newest first."""
    query = select(revisions).order_by(revisions.c.revision.desc()).limit(limit)
    if before is not None:
        query = query.where(revisions.c.revision < before)
    return tuple(_revision(row) for row in connection.execute(query))


def _revision(row: Row[tuple[object, ...]]) -> RevisionRow:
    return RevisionRow(row.revision, row.author, row.message, row.created_at, row.change_count)


def row(connection: Connection, number: int) -> RevisionRow:
    """One revision. Raises Unknown or RevisionPruned."""
    found = connection.execute(select(revisions).where(revisions.c.revision == number)).first()
    if found is None:
        raise _absent(connection, number)
    return _revision(found)


def _absent(connection: Connection, number: int) -> ControlError:
    oldest = connection.execute(select(func.min(revisions.c.revision))).scalar()
    if oldest is not None and 0 < number < oldest:
        return RevisionPruned(oldest)
    return Unknown("revision")


def changes(connection: Connection, number: int) -> Sequence[Change]:
    """What one revision changed. Raises Unknown, RevisionPruned or StorageDamaged."""
    (found,) = _verified(connection, row(connection, number).revision - 1, number)
    return decode(*found)


def changes_since(connection: Connection, number: int, head: int) -> Sequence[Change]:
    """What changed after revision `number` up to `head`, in order.

    Raises:
        Unknown: there is no revision of that number yet.
        RevisionPruned: a step of the way was pruned.
        StorageDamaged: a row is missing or is not what was written.
    """
    oldest = connection.execute(select(func.min(revisions.c.revision))).scalar()
    if number < 0 or number > head:
        raise Unknown("revision")
    if oldest is not None and number < oldest and (number, oldest) != (0, 1):
        raise RevisionPruned(oldest)
    return joined(
        part for each in _verified(connection, number, head) for part in parts_of(decode(*each))
    )


def _verified(connection: Connection, after: int, head: int) -> list[tuple[str, bytes | None]]:
    """The rows of revisions after+1 to head, each compared with its checksum, in a chain."""
    query = (
        select(
            revisions,
            journal.c.nonce,
            journal.c.changes,
            journal.c.packed,
            journal.c.previous,
            journal.c.checksum,
        )
        .join(journal, journal.c.revision == revisions.c.revision)
        .where(revisions.c.revision > after, revisions.c.revision <= head)
        .order_by(revisions.c.revision)
    )
    found: list[tuple[str, bytes | None]] = []
    last: str | None = None
    for number, line in enumerate(connection.execute(query), start=after + 1):
        own = checksum(_revision(line), line.nonce, line.changes, line.previous)
        chained = last is None or last == line.previous
        if line.revision != number or own != line.checksum or not chained:
            raise StorageDamaged(f"the journal is not what was written at revision {number}")
        last = own
        found.append((line.changes, line.packed))
    if len(found) != head - after:
        raise StorageDamaged("the journal lacks a revision")
    return found


def prune(
    connection: Connection, keep: int, older_than: datetime, needed: int | None = None
) -> int:
    """Forget revisions that are neither among the `keep` newest nor younger; how many were.

    The head stays, and so do revision `needed` and all after it.
    """
    newest = connection.execute(select(func.max(revisions.c.revision))).scalar() or 0
    young = connection.execute(
        select(func.min(revisions.c.revision)).where(revisions.c.created_at >= older_than)
    ).scalar()
    first_kept = min(
        newest - max(keep, 1) + 1,
        newest if young is None else young,
        newest if needed is None else needed,
    )
    return connection.execute(delete(revisions).where(revisions.c.revision < first_kept)).rowcount


def newest(connection: Connection) -> tuple[int, str]:
    """The number and checksum of the newest row; (0, START) where there is none yet."""
    query = select(journal.c.revision, journal.c.checksum).order_by(journal.c.revision.desc())
    found = connection.execute(query.limit(1)).first()
    return (0, START) if found is None else (found.revision, found.checksum)
