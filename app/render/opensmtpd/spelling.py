"""The only places where a text of the model becomes a text of OpenSMTPD's files, each checked.

Everything here was parsed once at the edge. It is checked again, because a quote or a line end
that slips through would be configuration (smtpd.conf(5) has no safe way to escape a string).
"""

import re
from collections.abc import Callable

from app.routing.credential import parse_password, parse_username
from app.routing.errors import ControlError, Refused
from app.routing.names import parse_domain, parse_label, parse_local_part, parse_name, parse_user
from app.routing.relay_url import TLS, Protocol, RelayURL, parse_relay_url
from app.routing.rule import parse_mail_from, parse_pki_name, parse_reject_message

MAX_LINE = 1022
"""Bytes of a list line; smtpd drops longer ones in silence (mind `! regex`)."""
MAX_ACTION = 64
"""Characters of an action's name; one more kills smtpd at the first message."""

_RULE_ID = re.compile(r"r[1-9][0-9]{0,17}")
_PATH = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9._-]*)+")
_TAG = re.compile(r"[a-z0-9_.-]{1,63}")
_LIST_LINE = re.compile(rf"[!-~]{{1,{MAX_LINE}}}")
_WORD = re.compile(r"rm-[a-z0-9.-]{1,61}")
_QUOTABLE = re.compile(r"[ -~]+")


class Unwritable(ControlError):
    """A text that none of our parsers lets through stands where one of the model should.

    Attributes:
        field: what was to be written, in the words of the model; never the text.
    """

    code = "unwritable"

    def __init__(self, field: str) -> None:
        super().__init__(f"a {field} that no parser of ours lets through was to be written")
        self.field = field


def quoted(text: str, field: str) -> str:
    """A string of smtpd.conf(5) in double quotes."""
    if not _QUOTABLE.fullmatch(text) or '"' in text or "\\" in text:
        raise Unwritable(field)
    return f'"{text}"'


def rule_id(text: str) -> str:
    """The id of a rule, which names actions and files."""
    if not _RULE_ID.fullmatch(text):
        raise Unwritable("rule id")
    return text


def action_name(text: str) -> str:
    """An action's name, in quotes."""
    if len(text) > MAX_ACTION:
        raise Unwritable("name of an action")
    return quoted(text, "name of an action")


def word(text: str) -> str:
    """The name of one of our tables, which may stand without quotes."""
    if not _WORD.fullmatch(text):
        raise Unwritable("name of a table")
    return text


def state_dir(text: str) -> str:
    """The agent's state directory."""
    if not _PATH.fullmatch(text):
        raise Unwritable("state directory")
    return text


def tag(text: str) -> str:
    """A listener's tag, lower case."""
    if not _TAG.fullmatch(text):
        raise Unwritable("tag")
    return text


def map_name(text: str) -> str:
    """The name of a relay map."""
    return _canonical(text, parse_name, "name of a relay map")


def domain(text: str) -> str:
    """A domain in its canonical spelling."""
    return _canonical(text, parse_domain, "domain")


def local_part(text: str) -> str:
    """The local part of an address in a pattern, lower case."""
    return _canonical(text, lambda t: parse_local_part(t).lower(), "local part")


def user(text: str) -> str:
    """The name of somebody who logs in, lower case."""
    return _canonical(text, parse_user, "user name")


def pki_name(text: str) -> str:
    """The name of a certificate or CA, in quotes."""
    return quoted(_canonical(text, parse_pki_name, "name of a certificate or CA"), "name")


def mail_from(text: str) -> str:
    """What `mail-from` of an action takes, in quotes."""
    spelling = _canonical(text, lambda t: str(parse_mail_from(t)), "mail_from")
    return quoted(spelling, "mail_from")


def reject_message(text: str) -> str:
    r"""The text after 550 5.7.1 as an alias value takes it.

    smtpd splits such a value at commas and pairs its apostrophes (unescaped, `'` turned the
    refusal into a temporary 424); a backslash before them keeps them, as seen with 6.8.0p2.
    """
    message = _canonical(text, parse_reject_message, "message")
    return message.replace(",", "\\,").replace("'", "\\'")


def list_line(text: str) -> str:
    """A line of a list file, as it is written elsewhere in this package."""
    if not _LIST_LINE.fullmatch(text) or text[0] == "#" or '"' in text:
        raise Unwritable("line of a list")
    return text


def credentials_line(label: str, username: str, password: str) -> str:
    """A line of a credentials table: `label<TAB>username:password`."""
    key = _canonical(label, parse_label, "credential label")
    user = _canonical(username, parse_username, "username")
    return f"{key}\t{user}:{_canonical(password, parse_password, 'password')}"


_SCHEMAS: dict[tuple[Protocol, TLS], str] = {
    (Protocol.SMTP, TLS.OPPORTUNISTIC): "smtp",
    (Protocol.SMTP, TLS.STARTTLS): "smtp+tls",
    (Protocol.SMTP, TLS.SMTPS): "smtps",
    (Protocol.SMTP, TLS.PLAIN): "smtp+notls",
    (Protocol.LMTP, TLS.PLAIN): "lmtp",
}
"""Spellings since OpenSMTPD 6.4; before, `smtp+tls` did not insist on TLS."""


def relay_url(url: RelayURL) -> str:
    """A relay as OpenSMTPD since 6.4 spells it, port always written."""
    label = f"{url.credential}@" if url.credential is not None else ""
    text = f"{_SCHEMAS[url.protocol, url.tls]}://{label}{url.host}:{url.effective_port}"
    try:
        same = parse_relay_url(text) == url
    except Refused:
        same = False
    if not same:
        raise Unwritable("relay URL")
    return text


def _canonical(text: str, parse: Callable[[str], str], field: str) -> str:
    try:
        same = parse(text) == text
    except Refused:
        same = False
    if not same:
        raise Unwritable(field)
    return text
