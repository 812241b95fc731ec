"""Why the HTTP edge itself refuses a request, before or beside anything that routing says.

EdgeError                 malformed
├── Unauthenticated       no token, or none that we know
├── MissingScope          the token may not do this
├── BadHost               the Host header names somebody else
├── BodyTooLarge
├── BadMediaType
└── PreconditionNeeded    If-Match is demanded
TagMoved                  (RevisionMoved)  If-Match names another state
AlreadyThere              (NameTaken)      If-None-Match met something
NameDiffers, BadParameter   (Invalid)
NothingMatches            If-Match on what has no entity tag, or is not there
ImportRefused             lines of a file cannot be taken
TooManyDeletes            a file would replace more of a table than was allowed
ImportsBusy               as many files are being imported as there is memory for
"""

from collections.abc import Mapping

from pydantic import JsonValue

from app.routing import errors
from app.routing.errors import ControlError, Fault
from app.server.api.faults import At


class EdgeError(ControlError):
    """An error of the HTTP edge.

    Attributes:
        headers: of the answer.
        members: of the problem document, beside the usual ones.
    """

    code = "bad-request"

    def __init__(
        self,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})
        self.members = dict(members or {})


class Unauthenticated(EdgeError):
    """No token, or none that we know."""

    code = "unauthenticated"


class MissingScope(EdgeError):
    """The token may not do this."""

    code = "missing-scope"


class BadHost(EdgeError):
    """The Host header names somebody else."""

    code = "bad-host"


class BodyTooLarge(EdgeError):
    """A body over the limit."""

    code = "body-too-large"


class BadMediaType(EdgeError):
    """A body of a type or coding that the path does not take."""

    code = "bad-media-type"


class PreconditionNeeded(EdgeError):
    """The settings ask for If-Match, and there was none."""

    code = "precondition-needed"


class TagMoved(errors.RevisionMoved):
    """If-Match names another state of the resource than the present one."""

    def __init__(self, current: int) -> None:
        super().__init__(current)
        self.args = (f"it was last changed in revision {current}; read it again and decide anew",)


class AlreadyThere(errors.NameTaken):
    """If-None-Match met an existing resource."""


class NothingMatches(ControlError):
    """If-Match on an MTA, which has no entity tag: only `*` can be met, by one that is there."""

    code = "nothing-matches"

    def __init__(self) -> None:
        super().__init__("an MTA has no entity tag: only If-Match: * can be met, where it is there")


class ImportRefused(ControlError):
    """Lines of a file of entries cannot be taken, and so none is.

    Attributes:
        faults: the first of them.
        report: what the import came to.
    """

    code = "import-refused"

    def __init__(self, faults: tuple[Fault, ...], count: int, report: JsonValue) -> None:
        lines = "1 line" if count == 1 else f"{count} lines"
        super().__init__(
            f"{lines} cannot be taken, and none was; see errors, or leave them out by on_error=skip"
        )
        self.faults = faults
        self.report = report


class TooManyDeletes(ControlError):
    """A file that replaces the entries of a table leaves out more of them than was allowed."""

    code = "too-many-deletes"

    def __init__(self, deletes: int, max_deletes: int, entries: int) -> None:
        super().__init__(
            f"{deletes} of {entries} entries would be deleted, and {max_deletes} at most may be;"
            " nothing was stored. If that is what is meant, say so by max_deletes"
        )
        self.deletes = deletes
        self.max_deletes = max_deletes
        self.entries = entries


class ImportsBusy(ControlError):
    """As many files are being imported as there is memory for."""

    code = "imports-busy"

    def __init__(self, at_once: int) -> None:
        super().__init__(f"{at_once} imports go on, and no more at once; nothing was stored")


class NameDiffers(errors.Invalid):
    """The body names something else than the path."""

    code = "name-differs"


class BadParameter(errors.Invalid):
    """Faults of the path, the query or a header, found by a route."""

    def __init__(self, *found: At) -> None:
        super().__init__(tuple(at.fault for at in found))
        self.found = found
