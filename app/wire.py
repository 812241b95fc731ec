"""What server and agent say to each other, as JSON over HTTP.

The agent asks `GET /v1/agent/wanted?known=PUSH&wait=SECONDS` and gets `Wanted` (200) when a push
newer than `known` names its MTA, or 204. With `&have=HISTORY:REVISION:DIGEST`, a model that it has,
it may be told what has to be done to that one instead of being given the whole. It tells what it
sees with `POST /v1/agent/reports`.
"""

from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, JsonValue

_MAX_TEXT = 4_000
MAX_LISTED = 10_000
"""More than any host has of addresses, or any MTA of retired actions."""


def _whole(text: str) -> str:
    """The text with `?` for half a character and for NUL: no socket, or no database, takes one."""
    return text[:_MAX_TEXT].encode("utf-8", "replace").decode().replace("\0", "?")


Text = Annotated[str, AfterValidator(_whole)]
"""What an agent found: the name of a file may hold octets that are no UTF-8, and have no end."""

Texts = Annotated[list[Text], FailFast(), Field(max_length=MAX_LISTED)]
"""Some texts; the first one that is none refuses them."""

Number = Annotated[int, Field(ge=0, le=2**53)]
"""Of a push or a revision, or seconds: what every database and every JSON parser holds exactly."""


class Message(BaseModel):
    """Members that one side does not know yet are ignored: either side may be newer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class LineState(StrEnum):
    """How one MTA's line of a push stands."""

    WAITING = "waiting"
    APPLYING = "applying"
    APPLIED = "applied"
    REFUSED = "refused"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Reload(StrEnum):
    """What the MTA had to do to serve a generation."""

    NONE = "none"
    LIVE = "live"
    TABLE_UPDATE = "table-update"
    RESTART = "restart"


class MtaState(StrEnum):
    """How an MTA stands against what was pushed to it."""

    LIVE = "live"
    BEHIND = "behind"
    DRIFTED = "drifted"
    STOPPED = "stopped"
    UNKNOWN = "unknown"
    NEVER_SEEN = "never-seen"


class RelayHealth(StrEnum):
    """Whether a relay can be handed mail to, as seen from one MTA."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """Why a relay is down; never a word of its own."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    NO_ADDRESS = "no-address"
    NO_BANNER = "no-banner"
    NOT_SMTP = "not-smtp"
    STARTTLS_MISSING = "starttls-missing"
    CERTIFICATE = "certificate"
    AUTH_REFUSED = "auth-refused"


class Have(NamedTuple):
    """A model that an agent has, whole and looked at: a server may send what changed since.

    Attributes:
        digest: of the model, in hex.
    """

    history: str
    revision: int
    digest: str

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.history}:{self.revision}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> "Have":
        """What `str` wrote, once `HAVE` matches it."""
        history, revision, digest = text.split(":")
        return cls(history, int(revision), digest)


HAVE = r"^[0-9a-f]{1,64}:[0-9]{1,15}:[0-9a-f]{64}$"


class SecretMessage(Message):
    """A credential on its way to the agent of an MTA that a push has named."""

    label: str
    revision: int
    username: str
    password: str

    def __repr__(self) -> str:
        """The label alone."""
        return f"SecretMessage(label={self.label!r})"

    __str__ = __repr__


class Wanted(Message):
    """What an MTA is to serve.

    Attributes:
        push: the push that wants it; a higher number is a newer wish.
        history: id of the database's history; revisions of different histories do not compare.
        model: the document of `app.routing.model`; empty where there is a `base`.
        base: the digest of the model, one that the agent has, that `changes` are for; None where
            the whole is given.
        changes: the rows of `app.routing.delta`, in the order in which they are to be done.
        secrets: for the labels that the model's rules use; beside `changes`, for those of them
            that are new or changed. A label that went out of use is a change.
    """

    push: Number
    history: str
    revision: Number
    model_digest: str
    model: dict[str, JsonValue]
    base: str | None = None
    changes: list[dict[str, JsonValue]] = []
    secrets: list[SecretMessage]


class Observed(Message):
    """What an MTA serves, as looked at, not inferred."""

    history: Text
    revision: Number
    model_digest: Text
    files_digest: Text


class TombstoneMessage(Message):
    """A retired action that is still rendered."""

    action: Text
    text: Text
    relays: Texts
    retire_at: Number


class PushReport(Message):
    """How an apply stands or ended.

    Attributes:
        detail: one sentence for people; never a secret.
    """

    push: Number
    state: LineState
    reload: Reload
    detail: Text = ""


class RelaySeen(Message):
    """One relay of a map, as an MTA sees it.

    Attributes:
        since: when that began, in seconds since the epoch.
        cause: why it is down; None where it is not, or where an agent before this one knew.
        reply: the SMTP reply code that said so, if one did.
        sessions: connections to it that the MTA holds open; None where that is not known.
        envelopes: recipients in the MTA's queue that wait for it; None where that is not known.
        quiet_since: since when both were 0, in seconds since the epoch; None while they are not.
    """

    relay_map: Text
    relay: Text
    state: RelayHealth
    since: Number
    cause: Cause | None = None
    reply: Annotated[int, Field(ge=200, le=599)] | None = None
    sessions: Number | None = None
    envelopes: Number | None = None
    quiet_since: Number | None = None


class Report(Message):
    """What an agent sees.

    Attributes:
        agent: an id made when the agent was installed: tells two agents of one MTA apart.
        state: `live`, `drifted`, `stopped` or `unknown`, as the agent sees it.
        observed: None before the first confirmed generation.
        behind_me: the server offered a lower revision of a history than the agent has served.
        version: of the MTA, such as "6.8.0p2"; None where it could not be asked.
        addresses: of the MTA's host when the MTA started.
        certificates, cas: names that the operator's file declares.
        push: the apply that this report is about, if any.
        live: whether the MTA asks the table program; else its rules are in static files.
        actions: that an MTA which asks has; a routing that needs no other one restarts nothing.
        relays: of the maps in use, as this MTA sees them; none where it has no table program.
    """

    agent: Text
    state: MtaState
    live: bool = False
    actions: Texts = []
    observed: Observed | None = None
    behind_me: bool = False
    version: Text | None = None
    addresses: Texts = []
    certificates: Texts = []
    cas: Texts = []
    state_dir: Text = ""
    tombstones: Annotated[list[TombstoneMessage], FailFast(), Field(max_length=MAX_LISTED)] = []
    push: PushReport | None = None
    relays: Annotated[list[RelaySeen], FailFast(), Field(max_length=MAX_LISTED)] = []
    detail: Text = ""
