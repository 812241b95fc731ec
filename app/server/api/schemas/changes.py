"""Many writes as one, over HTTP."""

from typing import Annotated, ClassVar

from pydantic import MISSING, Field, JsonValue, model_validator

from app.server.api.parameters import LONGEST, fault
from app.server.api.schemas.finding import FindingOut
from app.server.api.schemas.model import In, Out
from app.server.api.schemas.revision import ChangeOut
from app.server.api.schemas.texts import Line

MAX_WRITES = 1000

Target = Annotated[str, Field(min_length=1, max_length=2 * LONGEST)]


class WriteIn(In):
    """One write: `put` with a body, or `delete`."""

    put: Target | MISSING = MISSING
    """What to create or replace: `relay-maps/mxmap`, `relay-maps/mxmap/relays/mx1`, …/state,
    `tables/t`, `tables/t/entries/KEY`, `rules/r`."""
    body: dict[str, JsonValue] | MISSING = MISSING
    """As PUT takes it under that path."""
    delete: Target | MISSING = MISSING
    """What to delete, named in the same way."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "WriteIn":
        puts, deletes = isinstance(self.put, str), isinstance(self.delete, str)
        if puts == deletes:
            raise fault("bad-write", "a write has either put, with a body, or delete")
        if puts != isinstance(self.body, dict):
            raise fault("bad-write", "put comes with a body, delete without one")
        return self

    def given(self) -> JsonValue:
        """The body of a put."""
        return self.body if isinstance(self.body, dict) else {}


class ChangesIn(In):
    """Writes that are checked together at the end, and done all or not at all."""

    EXAMPLE: ClassVar[object] = {
        "changes": [
            {"put": "relay-maps/spare", "body": {"relays": [{"url": "smtps://mx9.example.net"}]}},
            {
                "put": "rules/to-spare",
                "body": {
                    "match": {"recipients": ["example.com"]},
                    "action": {"kind": "relay", "via": "map:spare"},
                },
            },
            {"delete": "rules/old"},
        ],
        "message": "INC-123",
    }

    changes: Annotated[list[WriteIn], Field(min_length=1, max_length=MAX_WRITES)]
    message: Line = ""
    """Why, for the journal."""


class ChangesOut(Out):
    """What the writes came to."""

    revision: int
    """The head after them."""
    changes: list[ChangeOut]
    """One for each subject that changed; empty: nothing did, and no revision was made."""
    findings: list[FindingOut]
    """What the routing looks like afterwards."""
