"""Rules over HTTP: conditions, and what to do with what meets them."""

from typing import Annotated, ClassVar, Literal

from pydantic import MISSING, Field
from typing_extensions import TypeAliasType

from app.routing import document
from app.routing.check import Finding
from app.routing.conditions import MAX_PATTERNS
from app.routing.rule import (
    DEFAULT_PRIORITY,
    MAX_PRIORITY,
    MAX_SOURCES,
    MAX_TTL_S,
    MIN_TTL_S,
    Rule,
)
from app.server.api.schemas.finding import FindingOut
from app.server.api.schemas.model import In, Out, Time
from app.server.api.schemas.texts import (
    Address,
    AuthUser,
    Client,
    Domain,
    Helo,
    Line,
    MailFrom,
    Message,
    Name,
    PkiName,
    Recipient,
    Sender,
    Tag,
    Via,
)
from app.server.live import Mark

_SOME = Field(min_length=1, max_length=MAX_PATTERNS)
Clients = Annotated[list[Client], _SOME]
AuthUsers = Annotated[list[AuthUser], _SOME]
Senders = Annotated[list[Sender], _SOME]
Recipients = Annotated[list[Recipient], _SOME]
Helos = Annotated[list[Helo], _SOME]
Tags = Annotated[list[Tag], _SOME]
Sources = Annotated[list[Address], Field(max_length=MAX_SOURCES)]
Ttl = Annotated[int, Field(ge=MIN_TTL_S, le=MAX_TTL_S)]
Priority = Annotated[int, Field(ge=0, le=MAX_PRIORITY)]


class Conditions(In):
    """Conditions; of the patterns of each, one must match."""

    clients: Clients | MISSING = MISSING
    """`local`, `any`, addresses and networks."""
    auth_users: AuthUsers | MISSING = MISSING
    """Names given to SMTP AUTH; `*` for anyone who logged in."""
    senders: Senders | MISSING = MISSING
    """`user@domain`, `domain`, `*.domain`; `<>` for the null sender."""
    recipients: Recipients | MISSING = MISSING
    """`user@domain`, `domain`, `*.domain`."""
    helos: Helos | MISSING = MISSING
    """Host names; `*.domain`."""
    tags: Tags | MISSING = MISSING
    """Tags of listeners."""


class Match(Conditions):
    """Conditions that must all hold, and under `not` conditions of which none may.

    Without `clients` they are `local`; with `auth_users` and without `clients`, `any`.
    """

    not_: Annotated[Conditions | MISSING, Field(alias="not")] = MISSING


class RejectAction(In):
    """Refuse the recipient: the client sees 550 5.7.1."""

    kind: Literal["reject"]
    message: Message | None = None


class RelayAction(In):
    """Hand the message to a next hop."""

    kind: Literal["relay"]
    via: Via
    mail_from: MailFrom | None = None
    """What the envelope sender becomes; `@domain` keeps the user, the null sender stays."""
    helo: Domain | None = None
    sources: Sources = Field(default_factory=list)
    """Addresses of the MTA to connect from, taken in turn."""
    certificate: PkiName | None = None
    """Name of a key pair that the MTA knows."""
    ca: PkiName | None = None
    """Name of a CA that the MTA knows."""
    tls_verify: bool = True
    ttl_s: Ttl | None = None
    """How long a message may wait; governs mail already queued as well."""


Action = TypeAliasType("Action", Annotated[RejectAction | RelayAction, Field(discriminator="kind")])


class RuleIn(In):
    """A rule. What the answer says beside these members is taken and ignored."""

    READ_ONLY = frozenset({"id", "revision", "created_at", "updated_at", "findings"})
    EXAMPLE: ClassVar[object] = {
        "name": "shop-out",
        "match": {"senders": ["shop.example"], "not": {"recipients": ["*.example.org"]}},
        "action": {"kind": "relay", "via": "map:mxmap", "mail_from": "bounce@shop.example"},
    }

    name: Name | MISSING = MISSING
    """Absent, or the name in the path."""
    description: Line = ""
    priority: Priority = DEFAULT_PRIORITY
    """Rules are tried by priority, lower first, then by name."""
    enabled: bool = True
    open_relay: bool = False
    """Says that relaying for anyone to anywhere is meant."""
    match: Match = Field(default_factory=Match.model_construct)
    action: Action

    def value(self, name: str) -> Rule:
        """The rule of that name. Raises Invalid."""
        return document.read_rule(self.model_dump(mode="json", by_alias=True) | {"name": name})


class RuleNew(RuleIn):
    """A rule to create."""

    EXAMPLE: ClassVar[object] = {
        "name": "no-mail",
        "priority": 10,
        "match": {"recipients": ["*.invalid.example"]},
        "action": {"kind": "reject", "message": "that domain takes no mail"},
    }

    name: Name


class ConditionsPatch(In):
    """Conditions to change; null removes one."""

    clients: Clients | MISSING | None = MISSING
    auth_users: AuthUsers | MISSING | None = MISSING
    senders: Senders | MISSING | None = MISSING
    recipients: Recipients | MISSING | None = MISSING
    helos: Helos | MISSING | None = MISSING
    tags: Tags | MISSING | None = MISSING


class MatchPatch(ConditionsPatch):
    """Conditions to change; null removes one."""

    not_: Annotated[ConditionsPatch | MISSING | None, Field(alias="not")] = MISSING


class ActionPatch(In):
    """Members of the action to change; where `kind` changes, nothing of the old one is kept."""

    kind: Literal["relay", "reject"] | MISSING = MISSING
    via: Via | MISSING = MISSING
    mail_from: MailFrom | MISSING | None = MISSING
    helo: Domain | MISSING | None = MISSING
    sources: Sources | MISSING = MISSING
    certificate: PkiName | MISSING | None = MISSING
    ca: PkiName | MISSING | None = MISSING
    tls_verify: bool | MISSING = MISSING
    ttl_s: Ttl | MISSING | None = MISSING
    message: Message | MISSING | None = MISSING


class RulePatch(In):
    """Members of a rule to change (RFC 7396)."""

    READ_ONLY = RuleIn.READ_ONLY
    EXAMPLE: ClassVar[object] = {"priority": 500, "match": {"not": None}}

    name: Name | MISSING = MISSING
    description: Line | MISSING | None = MISSING
    priority: Priority | MISSING = MISSING
    enabled: bool | MISSING = MISSING
    open_relay: bool | MISSING = MISSING
    match: MatchPatch | MISSING = MISSING
    action: ActionPatch | MISSING = MISSING


class RuleOut(Out):
    """A rule."""

    id: str
    """Given once and never reused."""
    name: str
    description: str
    priority: int
    enabled: bool
    open_relay: bool
    match: Match
    action: Action
    revision: int
    """Of its last change."""
    created_at: Time
    updated_at: Time
    findings: list[FindingOut]

    @classmethod
    def of(cls, rule: Rule, mark: Mark, found: tuple[Finding, ...]) -> "RuleOut":
        """The answer for a rule."""
        return cls.model_validate(
            document.rule_document(rule)
            | {
                "revision": mark.revision,
                "created_at": mark.created_at,
                "updated_at": mark.updated_at,
                "findings": found,
            }
        )


class RulePage(Out):
    """Some rules, in the order in which they are tried."""

    items: list[RuleOut]
    next_cursor: str | None
