"""The head: the one row that says what a database is, and where its routing stands."""

import secrets

from sqlalchemy import Connection, Row, insert, select, update

from app import __version__
from app.server.storage import Edit, Head, HeadMoved, StorageDamaged
from app.server.store import journal
from app.server.store.schema import head
from app.server.store.sealing import Seal

_ID_BYTES = 16


def new_id() -> str:
    """An id of a history or of a database: 128 bits of chance, in hex."""
    return secrets.token_hex(_ID_BYTES)


def find(connection: Connection) -> Row[tuple[object, ...]] | None:
    """The row; None in a database whose making was interrupted."""
    return connection.execute(select(head).where(head.c.id == 1)).first()


def row(connection: Connection) -> Row[tuple[object, ...]]:
    """The row. Raises StorageDamaged where it is missing."""
    found = find(connection)
    if found is None:
        raise StorageDamaged("the database has lost its head row")
    return found


def read(connection: Connection) -> Head:
    """Where routing stands."""
    found = row(connection)
    return Head(found.history, found.revision, found.rule_counter)


def make(connection: Connection, seal: Seal) -> None:
    """Begin a database's life."""
    identity = new_id()
    connection.execute(
        insert(head).values(
            id=1,
            history=new_id(),
            identity=identity,
            key_check=seal.key_check(identity),
            app_version=__version__,
            revision=0,
            rule_counter=0,
            push_counter=0,
            checksum=journal.START,
        )
    )


def note_version(connection: Connection) -> None:
    """Say that this version wrote here."""
    connection.execute(update(head).where(head.c.id == 1).values(app_version=__version__))


def advance(connection: Connection, edit: Edit) -> Row[tuple[object, ...]]:
    """Take the next revision from the locked row; the row.

    Not from a sequence: those that follow must see revisions appear in their order.

    Raises:
        HeadMoved: the database is at another head than the edit was decided on.
    """
    before = edit.before
    taken = (
        update(head)
        .where(
            head.c.id == 1,
            head.c.revision == before.revision,
            head.c.history == before.history,
        )
        .values(revision=edit.revision, rule_counter=edit.rule_counter)
        .returning(head.c.identity, head.c.checksum)
    )
    found = connection.execute(taken).first()
    if found is None:
        raise HeadMoved
    return found


def lock(connection: Connection) -> None:
    """Wait until nobody else writes, and let nobody begin."""
    connection.execute(select(head.c.id).where(head.c.id == 1).with_for_update())


def chain(connection: Connection, checksum: str) -> None:
    """Keep the checksum of the newest journal row."""
    connection.execute(update(head).where(head.c.id == 1).values(checksum=checksum))
