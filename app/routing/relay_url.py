"""Relay URLs, `[schema://][label@]host[:port]`: what they mean and how they are spelt.

The schemas are those of smtpd.conf(5) since 6.4 and, beside them, those of the relay URLs of
2012 and 5.x, read in one meaning: `smtp+tls` is mandatory STARTTLS, as it has been since 6.4.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from app.routing.errors import Refused
from app.routing.names import parse_host, parse_label


class Protocol(StrEnum):
    """What is spoken to the relay: SMTP (RFC 5321) or LMTP (RFC 2033)."""

    SMTP = "smtp"
    LMTP = "lmtp"


class TLS(StrEnum):
    """When TLS begins and whether mail goes without it (RFC 3207, RFC 8314)."""

    OPPORTUNISTIC = "opportunistic"
    STARTTLS = "starttls"
    SMTPS = "smtps"
    PLAIN = "plain"

    @property
    def mandatory(self) -> bool:
        """Whether nothing is delivered without TLS."""
        return self in {TLS.STARTTLS, TLS.SMTPS}


@dataclass(frozen=True, slots=True)
class Schema:
    """One row of the table of schemas.

    Attributes:
        port: where the URL writes none; None: a port must be written.
        auth: whether a login is wanted even without a label.
    """

    protocol: Protocol
    tls: TLS
    port: int | None
    auth: bool = False


_STARTTLS = Schema(Protocol.SMTP, TLS.STARTTLS, 25)
_SMTPS = Schema(Protocol.SMTP, TLS.SMTPS, 465)
_STARTTLS_AUTH = Schema(Protocol.SMTP, TLS.STARTTLS, 25, auth=True)
_SMTPS_AUTH = Schema(Protocol.SMTP, TLS.SMTPS, 465, auth=True)

SCHEMAS: dict[str, Schema] = {
    "": Schema(Protocol.SMTP, TLS.OPPORTUNISTIC, 25),
    "smtp": Schema(Protocol.SMTP, TLS.OPPORTUNISTIC, 25),
    "tls": _STARTTLS,
    "smtp+tls": _STARTTLS,
    "smtps": _SMTPS,
    "ssl": _SMTPS,
    "secure": _SMTPS,
    "smtp+notls": Schema(Protocol.SMTP, TLS.PLAIN, 25),
    "tls+auth": _STARTTLS_AUTH,
    "smtps+auth": _SMTPS_AUTH,
    "ssl+auth": _SMTPS_AUTH,
    "secure+auth": _SMTPS_AUTH,
    "lmtp": Schema(Protocol.LMTP, TLS.PLAIN, None),
}

_ONE = {schema: schema for schema in SCHEMAS}
"""Each text of a schema, as the one object that all URLs share."""
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PARTS = re.compile(r"(?P<host>\[[^\]]*\]|[^\[\]:]*)(?::(?P<port>[^:]*))?")


@dataclass(frozen=True, slots=True)
class RelayURL:
    """One relay URL. Two are equal when they mean the same, however they are spelt.

    Attributes:
        schema: as written, lower case; "" where none was written.
        label: as written, lower case; None where none was written.
        host: canonical: A-labels, a dotted quad, or `[v6]`.
        port: as written; None where none was written.
    """

    schema: str = field(compare=False)
    label: str | None = field(compare=False)
    host: str
    port: int | None = field(compare=False)
    protocol: Protocol = field(init=False)
    tls: TLS = field(init=False)
    effective_port: int = field(init=False)
    credential: str | None = field(init=False)

    def __post_init__(self) -> None:
        """Derive what the spelling means."""
        row = SCHEMAS[self.schema]
        derive = object.__setattr__
        derive(self, "protocol", row.protocol)
        derive(self, "tls", row.tls)
        derive(self, "effective_port", _effective_port(row, self.port))
        derive(self, "credential", _credential(row, self.label, self.host))

    def __str__(self) -> str:
        """The canonical spelling; parsing it gives an equal URL with the same spelling."""
        schema = f"{self.schema}://" if self.schema else ""
        label = f"{self.label}@" if self.label is not None else ""
        port = f":{self.port}" if self.port is not None else ""
        return f"{schema}{label}{self.host}{port}"


def _effective_port(row: Schema, written: int | None) -> int:
    port = written if written is not None else row.port
    if port is None:
        raise Refused("port-needed", "lmtp has no port of its own: write host:port")
    return port


def _credential(row: Schema, label: str | None, host: str) -> str | None:
    if label is not None:
        if not row.tls.mandatory:
            raise Refused(
                "label-needs-tls",
                "a login is sent over mandatory TLS only: use tls:// or smtps:// with a label",
            )
        return label
    if not row.auth:
        return None
    try:
        return parse_label(host)
    except Refused as refused:
        raise Refused(
            "label-needed",
            "+auth without a label uses the host's name as label, which this host cannot be:"
            " write label@host",
        ) from refused


def parse_relay_url(text: str) -> RelayURL:
    """The relay URL that `text` spells, whole: nothing may follow the port.

    Raises:
        Refused: `bad-relay-url` or the code of the part that is wrong.
    """
    schema, rest = _split_schema(text)
    label, rest = _split_label(rest)
    parts = _PARTS.fullmatch(rest)
    if parts is None:
        raise Refused("bad-host", "the host is not valid: an IPv6 address stands in brackets")
    host = parse_host(parts["host"])
    return RelayURL(schema, label, host, _parse_port(parts["port"]))


def _split_schema(text: str) -> tuple[str, str]:
    if not text:
        raise Refused("bad-relay-url", "the relay URL is empty")
    if any(c.isspace() or not c.isprintable() or c in '"\\' for c in text):
        raise Refused(
            "bad-relay-url", "a relay URL holds no blank, control character, quote or backslash"
        )
    schema, found, rest = text.partition("://")
    if not found:
        schema, rest = "", text
    elif not schema:
        raise Refused("bad-schema", "the schema before :// is missing; write smtp://host")
    schema = schema.lower() if schema.isascii() else schema
    if schema not in SCHEMAS:
        known = ", ".join(name for name in SCHEMAS if name)
        raise Refused("bad-schema", f"the schema is none of {known}")
    schema = _ONE[schema]
    for part, sign in (("path", "/"), ("query", "?"), ("fragment", "#")):
        if sign in rest:
            raise Refused("bad-relay-url", f"a relay URL has no {part}: end it after the port")
    return schema, rest


def _split_label(rest: str) -> tuple[str | None, str]:
    label, at, host = rest.partition("@")
    if not at:
        return None, rest
    if "@" in host:
        raise Refused("bad-label", "there is more than one '@'; a label holds none")
    if ":" in label:
        raise Refused(
            "password-in-url",
            "a relay URL carries no password: store a credential and write its label",
        )
    return _label(label), host


_label = lru_cache(maxsize=1024)(parse_label)
"""As `parse_label`; texts that are alike are mostly one object."""


@lru_cache(maxsize=1024)
def _parse_port(text: str | None) -> int | None:
    if text is None:
        return None
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise Refused("bad-port", "a port is 1 to 65535, in digits, without sign or leading zero")
    return int(text)
