"""What OpenSMTPD does of our grammar, by version: one row a feature and range of versions.

Versions between 6.8 and 7.8 were not all run; 7.3 is where libtls came in and with it TLS
listeners and client certificates that work, and the TLS mode that sticks to an action.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from app.render.opensmtpd.limits import (
    MAX_ACTIONS,
    MAX_HOST,
    MAX_LIST_LINES,
    MAX_LIST_LINES_IN_ALL,
    MAX_MATCH_LINES,
    MAX_REGEX_LINES,
    MAX_REGEX_LINES_IN_ALL,
)
from app.routing.errors import Reason

Version = tuple[int, int]

LIBTLS: Version = (7, 3)
NULL_MX: Version = (7, 5)


class Ability(NamedTuple):
    """What decides what an OpenSMTPD can do: its version, and whether it asks the table program."""

    version: Version
    live: bool = False


class Mode(StrEnum):
    """How an OpenSMTPD comes by its routing."""

    ANY = "any"
    STATIC = "static"
    LIVE = "live"


class Verdict(StrEnum):
    """How a feature stands on a range of versions."""

    EXACT = "exact"
    REFUSED = "refused"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Capability:
    """One feature on one range of versions.

    Attributes:
        code: the code of reasons and notices about it; stable.
        feature: in the words of the API.
        since: first version, inclusive.
        before: first version that it no longer holds for; None: all later ones.
        verdict: `exact`: as `resolve` says; `refused`: not expressible; `differs`: accepted, and
            the daemon does what `detail` says.
        mode: `static`: where it reads files; `live`: where it asks the table program.
    """

    code: str
    feature: str
    since: Version
    before: Version | None
    verdict: Verdict
    detail: str
    mode: Mode = Mode.ANY

    def covers(self, version: Version, *, live: bool = False) -> bool:
        """Whether the row speaks of that version, in that mode."""
        met = {Mode.ANY, Mode.LIVE if live else Mode.STATIC}
        since = self.since <= version and (self.before is None or version < self.before)
        return since and self.mode in met


OLDEST: Version = (6, 8)


def _exact(
    code: str, feature: str, detail: str, since: Version = OLDEST, mode: Mode = Mode.ANY
) -> Capability:
    return Capability(code, feature, since, None, Verdict.EXACT, detail, mode)


def _refused(
    code: str,
    feature: str,
    detail: str,
    since: Version = OLDEST,
    before: Version | None = None,
    *,
    mode: Mode = Mode.ANY,
) -> Capability:
    return Capability(code, feature, since, before, Verdict.REFUSED, detail, mode)


def _differs(
    code: str,
    feature: str,
    detail: str,
    before: Version | None = None,
    mode: Mode = Mode.ANY,
) -> Capability:
    return Capability(code, feature, OLDEST, before, Verdict.DIFFERS, detail, mode)


CAPABILITIES: tuple[Capability, ...] = (
    _exact("clients", "match: clients, not clients", "local is what the host was at its start"),
    _exact("senders", "match: senders, not senders", "addresses, domains, *.domain, <>"),
    _exact("recipients", "match: recipients, not recipients", "addresses, domains, *.domain"),
    _exact("helos", "match: helos, not helos", "names, *.domain"),
    _exact("tags", "match: tags, not tags", "the listener's tag"),
    _differs(
        "auth-unreachable",
        "match: auth_users",
        "said exactly, but TLS listeners of this version fail with OpenSSL 3, so nobody logs in",
        before=LIBTLS,
    ),
    _exact("auth_users", "match: auth_users, not auth_users", "names, *", since=LIBTLS),
    _exact("reject", "action: reject", "550 5.7.1, the message and the recipient"),
    _exact("mail_from", "action: mail_from", "envelope only; the null sender is left alone"),
    _exact("helo", "action: helo", "said to every relay of the rule"),
    _exact("sources", "action: sources", "taken in turn"),
    _exact("ttl", "action: ttl_s", "governs mail queued before as well"),
    _exact("via-url", "action: via a relay URL", "one relay, all addresses of its name in turn"),
    _exact("via-map", "action: via map:, round-robin", "the turn is shared by all rules over it"),
    _exact(
        "policies",
        "action: via map:, every policy, priorities",
        "picked at each delivery attempt; by sender or recipient when the mail comes in",
        mode=Mode.LIVE,
    ),
    _exact(
        "via-table",
        "action: via table:",
        "one line a level of keys and a next hop",
        mode=Mode.STATIC,
    ),
    _exact(
        "via-table-live",
        "action: via table:, millions of entries",
        "by recipient domain at each delivery attempt; by another key when the mail comes in",
        mode=Mode.LIVE,
    ),
    _differs(
        "entry-to-mx",
        "table by recipient domain, an entry that is removed or becomes mx",
        "mail that was queued for its relay goes to the default, or waits until there is a relay",
        mode=Mode.LIVE,
    ),
    _exact(
        "health",
        "relay map with a relay that does not answer",
        "is not picked while health calls it down",
        mode=Mode.LIVE,
    ),
    _differs(
        "turns-begin",
        "relay map, restarted MTA",
        "turns go on over every change, and begin anywhere after a restart of the MTA",
        mode=Mode.LIVE,
    ),
    _refused(
        "hash-by-message",
        "policy hash by message",
        "no question of this daemon ever carries it",
        mode=Mode.LIVE,
    ),
    _refused(
        "actions",
        f"more than {MAX_ACTIONS} different next hops and options of rules",
        "each costs every recipient a question: use tables by recipient domain, or maps",
        mode=Mode.LIVE,
    ),
    _exact("via-mx", "action: via mx", "lowest preference first, then the others"),
    _differs(
        "null-mx",
        "action: via mx, recipient with a null MX",
        "retried until the message's time to live, then bounced",
        before=NULL_MX,
    ),
    _exact(
        "null-mx-bounced",
        "action: via mx, recipient with a null MX",
        "bounced at once (RFC 7505)",
        since=NULL_MX,
    ),
    _differs(
        "no-address",
        "action: via mx, recipient domain or MX without any address",
        "retried until the message's time to live, then bounced",
    ),
    _differs(
        "source-family-found",
        "action: a source whose family the host, known by name alone, has no address of",
        "retried until the message's time to live; of several sources the next has its turn then",
    ),
    _differs(
        "relay-down",
        "relay map with a relay that does not answer",
        "its share of the mail waits for the next attempt, 400 s or more; take the relay out",
        mode=Mode.STATIC,
    ),
    _differs(
        "turn-restarts",
        "relay map, changed",
        "turns begin anew with the first relay after each table update and restart",
        mode=Mode.STATIC,
    ),
    _refused(
        "policy",
        "policy random, ratio, failover or hash over several relays",
        "a static list is only taken in turn: use round-robin, or a map of one relay",
        mode=Mode.STATIC,
    ),
    _refused(
        "priority",
        "relays of different priority in one map",
        "a static list knows no priority: give all relays of the map the same",
        mode=Mode.STATIC,
    ),
    Capability(
        "mixed-tls-taken",
        "mandatory and other TLS in one map",
        OLDEST,
        LIBTLS,
        Verdict.EXACT,
        "each relay as its URL says",
    ),
    _refused(
        "mixed-tls",
        "mandatory and other TLS in one map",
        "after one delivery with mandatory TLS the action asks all its relays for it: use two maps",
        since=LIBTLS,
    ),
    _refused(
        "verify-needs-tls",
        "tls_verify false or ca where a next hop has no mandatory TLS",
        "no-verify makes TLS mandatory, and a CA is not looked at without mandatory TLS",
    ),
    _refused(
        "ca-unverified",
        "ca together with tls_verify false",
        "nobody would look at the CA: leave one of them out",
    ),
    _refused(
        "certificate",
        "action: certificate",
        "client certificates fail with OpenSSL 3, and an opportunistic relay then gets plain text",
        before=LIBTLS,
    ),
    _exact("certificate-shown", "action: certificate", "a pki of smtpd.conf", since=LIBTLS),
    _refused(
        "certificate-unknown",
        "action: certificate that smtpd.conf does not declare",
        "smtpd would not start: declare it with pki in smtpd.conf",
    ),
    _refused(
        "ca-unknown",
        "action: ca that smtpd.conf does not declare",
        "mail would wait until its time to live: declare it with ca in smtpd.conf",
    ),
    _refused(
        "source-family",
        "action: sources of another family than a relay given by address",
        "mail would wait until its time to live: give sources of the relay's family",
    ),
    _refused(
        "source-unknown",
        "action: a source that is no address of the MTA's host",
        "mail would wait until its time to live: give addresses of that host",
    ),
    _refused(
        "host-length",
        f"relay with a host name over {MAX_HOST} characters",
        "OpenSMTPD on Linux takes no longer one",
    ),
    _refused(
        "credential",
        "relay with a label whose credential is absent or not for that host",
        "a password goes only to hosts that its credential names, over TLS that is verified",
    ),
    _refused(
        "condition-size",
        f"match: a condition that needs more than {MAX_REGEX_LINES} regular expressions",
        "each costs every recipient time: use domains instead of addresses and *.domain",
        mode=Mode.STATIC,
    ),
    _refused(
        "table-size",
        f"table with more than {MAX_REGEX_LINES} keys that are not plain domains",
        "each costs every recipient time: use domains instead of addresses and *.domain",
        mode=Mode.STATIC,
    ),
    _refused(
        "list-size",
        f"a list of more than {MAX_LIST_LINES} lines",
        "each costs every recipient time",
        mode=Mode.STATIC,
    ),
    _refused(
        "list-lines",
        f"more than {MAX_LIST_LINES_IN_ALL} lines in all lists, once for each match line that asks",
        "every process of smtpd reads them at its start, and they are looked through line by line",
        mode=Mode.STATIC,
    ),
    _refused(
        "regex-lines",
        f"more than {MAX_REGEX_LINES_IN_ALL} regular expressions in all match lines",
        "each costs every recipient time: use domains instead of addresses and *.domain",
        mode=Mode.STATIC,
    ),
    _refused(
        "match-lines",
        f"more than {MAX_MATCH_LINES} match lines in all",
        "each costs every recipient time: use tables with fewer different next hops",
        mode=Mode.STATIC,
    ),
    _refused(
        "too-old",
        "OpenSMTPD before 6.8",
        "nobody has seen what it does with these files: 6.8 is the oldest that is known",
        since=(0, 0),
        before=OLDEST,
    ),
    _refused(
        "dangling",
        "a rule that names a map or table that is not there",
        "there is nothing to render",
    ),
)


def refusal(
    code: str, version: Version, subject: str, detail: str = "", *, live: bool = False
) -> Reason | None:
    """The reason why a feature is refused on a version; None where it is not.

    Args:
        code: of a row whose verdict is `refused`.
        version: of OpenSMTPD.
        subject: what uses the feature, such as "rules/shop-out".
        detail: what of it, in front of the row's own sentence.
        live: whether it asks the table program.
    """
    for row in CAPABILITIES:
        refused = row.code == code and row.verdict is Verdict.REFUSED
        if refused and row.covers(version, live=live):
            return Reason(subject, code, f"{detail}: {row.detail}" if detail else row.detail)
    return None
