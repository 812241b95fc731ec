"""Tables and their entries over HTTP."""

from typing import Annotated, ClassVar

from pydantic import MISSING

from app.routing import document
from app.routing.next_hop import EntryHop, parse_entry_hop
from app.routing.table import Table, TableKey
from app.server.api.schemas.model import In, Lax, Out, Time
from app.server.api.schemas.texts import EntryVia, Line, Name
from app.server.live import Mark

LaxKey = Annotated[TableKey, Lax]


class TableIn(In):
    """A table. What the answer says beside these members is taken and ignored."""

    READ_ONLY = frozenset({"revision", "created_at", "updated_at"})
    EXAMPLE: ClassVar[object] = {
        "name": "by-domain",
        "description": "who goes where",
        "key": "recipient-domain",
        "default": "map:mxmap",
    }

    name: Name | MISSING = MISSING
    """Absent, or the name in the path."""
    description: Line = ""
    key: LaxKey
    """What of an envelope is looked up."""
    default: EntryVia | None = None
    """The next hop of what has no entry; null: the rule does not match, and the next is tried."""

    def value(self, name: str) -> Table:
        """The table of that name. Raises Invalid."""
        return document.read_table(self.model_dump(mode="json") | {"name": name})


class TableNew(TableIn):
    """A table to create."""

    EXAMPLE: ClassVar[object] = {"name": "by-sender", "key": "sender-domain", "default": None}

    name: Name


class TablePatch(In):
    """Members of a table to change (RFC 7396)."""

    READ_ONLY = TableIn.READ_ONLY
    EXAMPLE: ClassVar[object] = {"default": None}

    name: Name | MISSING = MISSING
    description: Line | MISSING | None = MISSING
    key: LaxKey | MISSING = MISSING
    default: EntryVia | MISSING | None = MISSING


class TableOut(Out):
    """A table, without its entries."""

    name: str
    description: str
    key: TableKey
    default: str | None
    revision: int
    """Of its last change; its entries have their own."""
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, table: Table, mark: Mark) -> "TableOut":
        """The answer for a table."""
        return cls(
            name=table.name,
            description=table.description,
            key=table.key,
            default=None if table.default is None else str(table.default),
            revision=mark.revision,
            created_at=mark.created_at,
            updated_at=mark.updated_at,
        )


class TablePage(Out):
    """Some tables, by name."""

    items: list[TableOut]
    next_cursor: str | None


class TableStats(Out):
    """How full a table is."""

    entries: int


class EntryIn(In):
    """An entry. What the answer says beside these members is taken and ignored."""

    READ_ONLY = frozenset({"revision", "created_at", "updated_at"})
    EXAMPLE: ClassVar[object] = {"via": "smtps://mx2.example.net"}

    key: str | MISSING = MISSING
    """Absent, or the key in the path."""
    via: EntryVia

    def value(self) -> EntryHop:
        """The next hop."""
        return parse_entry_hop(self.via)


class EntryOut(Out):
    """An entry of a table."""

    key: str
    via: str
    revision: int
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, key: str, via: EntryHop, mark: Mark) -> "EntryOut":
        """The answer for an entry."""
        return cls(
            key=key,
            via=str(via),
            revision=mark.revision,
            created_at=mark.created_at,
            updated_at=mark.updated_at,
        )


class EntryPage(Out):
    """Some entries, by key."""

    items: list[EntryOut]
    next_cursor: str | None
