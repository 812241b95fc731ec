"""The options of a rendered relay action, read back from its text."""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from app.render.opensmtpd import spelling
from app.render.opensmtpd.regexes import Unreadable
from app.routing.errors import ControlError, Refused
from app.routing.names import IPAddress, parse_domain
from app.routing.relay_url import RelayURL, parse_relay_url
from app.routing.rule import MailFrom, parse_mail_from, parse_pki_name


@dataclass(frozen=True, slots=True)
class Delivery:
    """What `action NAME relay …` says.

    Attributes:
        table: the list that relays are taken from in turn; "" where there is none.
        asks: whether the relay is asked of the table program, under the action's own name.
        url: the one relay; None where there is a list, or MX records are looked up.
        auth: whether the credentials table may be asked.
        tls: None without the option, else whether certificates are checked.
    """

    table: str
    url: RelayURL | None
    auth: bool
    tls: bool | None
    ca: str | None
    pki: str | None
    sources: tuple[IPAddress, ...]
    helo: str | None
    mail_from: MailFrom | None
    ttl_s: int | None
    asks: bool = False


_STRING = r'"[ !#-\[\]-~]+"'
_RELAY = re.compile(
    rf"""relay
    (?:\ host\ (?: <(?P<table>rm-[mt]-[a-z0-9.-]+)> | (?P<url>{_STRING}) )
    |\ domain\ <(?P<asked>rm-(?:map|table)[.-][a-z0-9.-]+)>)?
    (?P<auth>\ auth\ <rm-credentials>)?
    (?P<tls>\ tls (?P<unverified>\ no-verify)? )?
    (?:\ ca\ (?P<ca>{_STRING}))?
    (?:\ pki\ (?P<pki>{_STRING}))?
    (?:\ src\ (?P<src>{_STRING} | \{{\ {_STRING}(?:,\ {_STRING})+\ \}} ))?
    (?:\ helo\ (?P<helo>{_STRING}))?
    (?:\ mail-from\ (?P<mail_from>{_STRING}))?
    (?:\ ttl\ (?P<ttl>[1-9][0-9]{{0,7}})s)?""",
    re.VERBOSE,
)


def read_delivery(text: str) -> Delivery:
    """The options of an action whose text after the name this is.

    Raises:
        Unreadable: this is no relay action as we write them.
    """
    found = _RELAY.fullmatch(text)
    if found is None:
        raise Unreadable
    part = {name: value.strip('"') for name, value in found.groupdict().items() if value}
    try:
        return Delivery(
            table=part.get("table", part.get("asked", "")),
            url=read_relay(part["url"]) if "url" in part else None,
            auth="auth" in part,
            tls="unverified" not in part if "tls" in part else None,
            ca=parse_pki_name(part["ca"]) if "ca" in part else None,
            pki=parse_pki_name(part["pki"]) if "pki" in part else None,
            sources=tuple(ip_address(t) for t in re.findall(r'[^"{}, ]+', part.get("src", ""))),
            helo=parse_domain(part["helo"]) if "helo" in part else None,
            mail_from=parse_mail_from(part["mail_from"]) if "mail_from" in part else None,
            ttl_s=int(part["ttl"]) if "ttl" in part else None,
            asks="asked" in part,
        )
    except (Refused, ValueError) as error:
        raise Unreadable from error


def read_relay(text: str) -> RelayURL:
    """The relay whose spelling for OpenSMTPD this is.

    Raises:
        Unreadable: it is not exactly as we write it.
    """
    try:
        url = parse_relay_url(text)
        same = spelling.relay_url(url) == text
    except ControlError as error:
        raise Unreadable from error
    if not same:
        raise Unreadable
    return url
