"""Every error of the house, as one tree.

    ControlError                     code, temporary, sentence
    ├── Refused                      one text is not what its field takes; carries one Fault
    ├── Invalid                      a whole write is refused; carries every Fault found
    ├── Unknown                      a name that is not there
    ├── NameTaken                    create-only met an existing name
    ├── StillReferenced              a delete of something that others use
    ├── RevisionMoved                a precondition named another revision
    ├── LimitReached                 more of a kind than is promised to work
    ├── CredentialMissing            a restore needs labels that are gone or not allowed
    ├── RevisionPruned               a revision older than those kept
    └── NotExpressible               an MTA cannot do what the routing says; carries reasons

Errors of one edge (HTTP, store, agent) are subclasses beside that edge, under the same root.
A fault never carries the refused value: it says what is wrong, where, and what to do.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one field.

    Attributes:
        code: stable, kebab-case, for programs.
        detail: one sentence for people: what is wrong and what to write instead.
        pointer: RFC 6901 pointer into what was sent; "" for all of it.
    """

    code: str
    detail: str
    pointer: str = ""

    def under(self, prefix: str) -> "Fault":
        """This fault, seen from a document that holds the field below `prefix`."""
        return Fault(self.code, self.detail, prefix + self.pointer)


class ControlError(Exception):
    """Root of all errors that we raise on purpose."""

    code = "error"
    temporary = False


class Refused(ControlError):
    """One text is not what its field takes."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.fault = Fault(code, detail)


class Invalid(ControlError):
    """A write is refused as a whole; every finding at once."""

    code = "invalid"

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"{f.pointer or '/'}: {f.detail}" for f in faults))
        self.faults = faults


class Unknown(ControlError):
    """Nothing of that kind has that name.

    Attributes:
        kind: what was looked for, in the words of the field: "relay map", "rule", ….
        pointer: RFC 6901 pointer to what names it, in a body of many writes; "" otherwise.
    """

    code = "not-found"

    def __init__(self, kind: str, pointer: str = "") -> None:
        super().__init__(f"there is no {kind} of that name")
        self.kind = kind
        self.pointer = pointer


class NameTaken(ControlError):
    """A create-only write met something of that name."""

    code = "exists"

    def __init__(self, kind: str) -> None:
        super().__init__(f"a {kind} of that name exists")
        self.kind = kind


class StillReferenced(ControlError):
    """What is to be deleted is in use.

    Attributes:
        users: up to 20 subjects that use it, such as "rules/shop-out".
        more: how many further users there are.
    """

    code = "in-use"

    def __init__(self, users: tuple[str, ...], more: int = 0) -> None:
        listed = ", ".join(users) + (f" and {more} more" if more else "")
        super().__init__(f"it is used by {listed}; change or delete those first")
        self.users = users
        self.more = more


class RevisionMoved(ControlError):
    """The routing is at another revision than the caller expected."""

    code = "revision-moved"

    def __init__(self, current: int) -> None:
        super().__init__(f"the routing is at revision {current} now; read again and decide anew")
        self.current = current


class LimitReached(ControlError):
    """There are as many of a kind as are promised to work."""

    code = "limit-reached"

    def __init__(self, kind: str, limit: int) -> None:
        super().__init__(f"there are {limit} {kind} already, which is the limit")


class CredentialMissing(ControlError):
    """A restored revision names labels that are gone or no longer allowed for their hosts."""

    code = "credential-missing"

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f.detail for f in faults))
        self.faults = faults


class RevisionPruned(ControlError):
    """That revision was pruned by the settings."""

    code = "revision-pruned"

    def __init__(self, oldest: int) -> None:
        super().__init__(f"revisions before {oldest} were pruned")
        self.oldest = oldest


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one rule cannot be said to one MTA.

    Attributes:
        subject: "rules/shop-out" or "relay-maps/mxmap".
        code: key of the driver's capability table.
        detail: one sentence.
    """

    subject: str
    code: str
    detail: str


class NotExpressible(ControlError):
    """The MTA cannot do what the routing says; nothing is approximated in silence."""

    code = "not-expressible"

    def __init__(self, reasons: tuple[Reason, ...]) -> None:
        super().__init__("; ".join(f"{r.subject}: {r.detail}" for r in reasons))
        self.reasons = reasons
