"""Rules: conditions that an envelope must meet, and the action for those that do."""

import re
from dataclasses import dataclass, field

from app.routing.conditions import AnyCondition, AuthUsers, Clients
from app.routing.cover import covers, takes_a_whole_family
from app.routing.envelope import Envelope
from app.routing.errors import Fault, Refused
from app.routing.names import IPAddress, parse_domain
from app.routing.next_hop import NextHop

DEFAULT_PRIORITY = 1000
MAX_PRIORITY = 1_000_000
MAX_SOURCES = 100
MIN_TTL_S = 60
MAX_TTL_S = 2_592_000

_USER = re.compile(r"[A-Za-z0-9._+=-]{1,64}")
_MESSAGE = re.compile(r"[ -~]{1,200}")
_PKI_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,62}")


_ANYBODY = Clients(any=True)
_LOCAL = Clients(local=True)


@dataclass(frozen=True, slots=True)
class Match:
    """Conditions of which all must hold, and conditions of which none may.

    Both are in the order of `CONDITIONS`, at most one of a kind on each side.

    Attributes:
        required: `all_of`, with the default for an absent condition on clients.
    """

    all_of: tuple[AnyCondition, ...] = ()
    none_of: tuple[AnyCondition, ...] = ()
    required: tuple[AnyCondition, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Say what is asked of every envelope."""
        others = (c for c in self.all_of if not isinstance(c, Clients))
        object.__setattr__(self, "required", (self.clients(), *others))

    def positive(self, name: str) -> AnyCondition | None:
        """The condition of that name that must hold, as given; None when absent."""
        return next((c for c in self.all_of if c.name == name), None)

    def negative(self, name: str) -> AnyCondition | None:
        """The condition of that name that must not hold; None when absent."""
        return next((c for c in self.none_of if c.name == name), None)

    def clients(self) -> Clients:
        """Where connections may come from, with the default for an absent condition.

        Absent: `local`; with `auth_users` given: `any`, as smtpd's `from auth`.
        """
        given = self.positive("clients")
        if isinstance(given, Clients):
            return given
        logged_in = isinstance(self.positive("auth_users"), AuthUsers)
        return _ANYBODY if logged_in else _LOCAL

    def first_failing(self, envelope: Envelope) -> str | None:
        """The name of the first condition that says no (`not.NAME` for one that must not hold).

        None: the envelope matches.
        """
        for condition in self.required:
            if not condition.holds(envelope):
                return condition.name
        for condition in self.none_of:
            if condition.holds(envelope):
                return f"not.{condition.name}"
        return None


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse the recipient: the client sees 550 5.7.1 and the message."""

    message: str | None = None


@dataclass(frozen=True, slots=True)
class MailFrom:
    """What the envelope sender becomes: `user@domain`, or `@domain` keeping the user."""

    user: str | None
    domain: str

    def __str__(self) -> str:
        """`user@domain` or `@domain`."""
        return f"{self.user or ''}@{self.domain}"


@dataclass(frozen=True, slots=True)
class RelayAction:
    """Hand the message to a next hop.

    Attributes:
        sources: addresses of the MTA to connect from, taken in turn by it.
        certificate: name of a key pair that the MTA knows, shown to the relay.
        ca: name of a CA that the MTA knows, which the relay's certificate must be signed by.
        tls_verify: whether the relay's certificate is checked, where TLS is mandatory.
        ttl_s: how long a message may wait in the queue, in seconds; None: the MTA's own.
    """

    via: NextHop
    mail_from: MailFrom | None = None
    helo: str | None = None
    sources: tuple[IPAddress, ...] = ()
    certificate: str | None = None
    ca: str | None = None
    tls_verify: bool = True
    ttl_s: int | None = None


Action = Reject | RelayAction


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Rules are tried by (priority, name); the first that matches decides.

    Attributes:
        id: given once, such as "r17", and never reused; actions on MTAs are named by it.
        open_relay: says that relaying for anyone to anywhere is meant.
    """

    id: str
    name: str
    action: Action
    match: Match = field(default_factory=Match)
    priority: int = DEFAULT_PRIORITY
    enabled: bool = True
    open_relay: bool = False
    description: str = ""

    @property
    def order(self) -> tuple[int, str]:
        """The key by which rules are tried."""
        return (self.priority, self.name)


def is_open_relay(rule: Rule) -> bool:
    """Whether a rule relays for any client to anywhere without asking for a login.

    Networks that hold every address of a family are `any` in other words.
    """
    if isinstance(rule.action, Reject):
        return False
    asks = rule.match.positive("auth_users") or rule.match.positive("recipients")
    return asks is None and takes_a_whole_family(rule.match.clients())


def faults_of(rule: Rule) -> list[Fault]:
    """Everything that a rule may not be by itself; empty when all is well."""
    faults: list[Fault] = []
    for name in never_matches(rule.match):
        detail = "a rule that excludes everything that it asks for can never match"
        faults.append(Fault("never-matches", detail, f"/match/not/{name}"))
    if is_open_relay(rule) and not rule.open_relay:
        detail = (
            "this relays for anyone to anywhere: name auth_users or recipients, or say"
            ' "open_relay": true'
        )
        faults.append(Fault("open-relay", detail, "/match/clients"))
    return faults


def never_matches(match: Match) -> list[str]:
    """The names of the conditions that must not hold and do whenever those asked for hold."""
    wanted = {condition.name: condition for condition in match.required}
    return [
        refused.name
        for refused in match.none_of
        if refused.name in wanted and covers(refused, wanted[refused.name])
    ]


def parse_mail_from(text: str) -> MailFrom:
    """`user@domain` or `@domain`, as an action's `mail_from` writes it.

    Raises:
        Refused: `bad-mail-from`.
    """
    user, at, domain = text.rpartition("@")
    well_formed = at and (not user or _USER.fullmatch(user))
    if not well_formed or user.startswith(".") or user.endswith(".") or ".." in user:
        raise Refused(
            "bad-mail-from",
            "write user@domain with a user of letters, digits and ._+=-, or @domain to keep it",
        )
    try:
        return MailFrom(user or None, parse_domain(domain))
    except Refused as refused:
        raise Refused("bad-mail-from", f"the domain is not valid: {refused}") from refused


def parse_reject_message(text: str) -> str:
    """The text that a refused client sees after 550 5.7.1.

    Raises:
        Refused: `bad-message`.
    """
    if _MESSAGE.fullmatch(text) and '"' not in text and "\\" not in text and text == text.strip():
        return text
    raise Refused(
        "bad-message",
        "a message is 1 to 200 characters of printable ASCII without '\"' and '\\', and no blank"
        " first or last",
    )


def parse_pki_name(text: str) -> str:
    """The name of a certificate or a CA as the operator's smtpd.conf declares it.

    Raises:
        Refused: `bad-pki-name`.
    """
    if _PKI_NAME.fullmatch(text):
        return text
    raise Refused("bad-pki-name", "a name of a certificate or CA is 1 to 63 of A-Z a-z 0-9 . _ -")
