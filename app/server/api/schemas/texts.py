"""Texts with a grammar, each checked by its parser in the core and kept in canonical spelling.

The patterns are for readers of the OpenAPI document and no stricter than the parsers; pydantic is
not given them, since it would print them in errors.
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, JsonValue

from app.routing.conditions import CONDITIONS
from app.routing.credential import parse_credential_host, parse_password, parse_username
from app.routing.document import MAX_TEXT, parse_line
from app.routing.names import (
    LABEL_PATTERN,
    NAME_PATTERN,
    parse_address,
    parse_domain,
    parse_label,
    parse_name,
)
from app.routing.next_hop import parse_entry_hop, parse_next_hop
from app.routing.relay_url import parse_relay_url
from app.routing.rule import parse_mail_from, parse_pki_name, parse_reject_message
from app.server.api.parameters import LONGEST, spelt

_URL_PATTERN = r"([A-Za-z+]+://)?([A-Za-z0-9_][A-Za-z0-9._-]{0,62}@)?[^\s\"\\/?#@]+"


def _schema(pattern: str, *examples: str) -> Any:  # noqa: ANN401  FieldInfo, which Field itself types as Any
    extra: dict[str, JsonValue] = {"pattern": f"^({pattern})$", "maxLength": LONGEST}
    if examples:
        extra["examples"] = [*examples]
    return Field(json_schema_extra=extra)


Name = Annotated[str, _schema(NAME_PATTERN), spelt(parse_name)]
"""Of a relay map, table, rule or MTA."""

Label = Annotated[str, _schema(LABEL_PATTERN), spelt(parse_label)]
"""Of a credential, or the name of a relay in its map."""

Line = Annotated[
    str,
    Field(json_schema_extra={"maxLength": MAX_TEXT, "pattern": r"^[^\x00-\x1f\x7f]*$"}),
    spelt(parse_line),
]
"""One line of printable text."""

RelayUrl = Annotated[
    str,
    _schema(_URL_PATTERN, "tls+auth://acct@mx1.example.net:587", "smtp://[2001:db8::1]"),
    spelt(parse_relay_url),
]
"""`[schema://][label@]host[:port]`."""

Via = Annotated[
    str,
    _schema(f"mx|map:.+|table:.+|{_URL_PATTERN}", "map:mxmap", "mx", "smtps://mx1.example.net"),
    spelt(parse_next_hop),
]
"""`mx`, `map:NAME`, `table:NAME` or a relay URL."""

EntryVia = Annotated[
    str, _schema(f"mx|map:.+|{_URL_PATTERN}", "map:mxmap", "mx"), spelt(parse_entry_hop)
]
"""`mx`, `map:NAME` or a relay URL."""

Domain = Annotated[str, _schema(r"[^\s]+", "mail.example.org"), spelt(parse_domain)]
Address = Annotated[
    str, _schema(r"[0-9A-Fa-f:.]+", "192.0.2.1", "2001:db8::1"), spelt(parse_address)
]
MailFrom = Annotated[
    str, _schema(r"[A-Za-z0-9._+=-]{0,64}@[^\s@]+", "bounce@shop.example"), spelt(parse_mail_from)
]
PkiName = Annotated[
    str, _schema(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,62}", "shop"), spelt(parse_pki_name)
]
Message = Annotated[
    str, _schema(r"[ -~]{1,200}", "mail to this domain is off"), spelt(parse_reject_message)
]
CredentialHost = Annotated[
    str,
    _schema(r"[^\s]+", "smtp.provider.example", "*.provider.example"),
    spelt(parse_credential_host),
]
Username = Annotated[str, _schema(r"[^:]{1,255}", "shop@provider.example"), spelt(parse_username)]
Password = Annotated[
    str,
    Field(
        json_schema_extra={"format": "password", "minLength": 1, "maxLength": 255},
    ),
    spelt(parse_password),
]


def _canonical(condition: str) -> Callable[[str], str]:
    """The parser of one pattern of a condition."""
    parse = CONDITIONS[condition]

    def canonical(text: str) -> str:
        (spelling,) = parse((text,)).texts()
        return spelling

    return canonical


Client = Annotated[
    str, _schema(r"[0-9A-Za-z:./]+", "local", "192.0.2.0/24"), spelt(_canonical("clients"))
]
AuthUser = Annotated[str, _schema(r"[^\s]+", "shop", "*"), spelt(_canonical("auth_users"))]
Sender = Annotated[str, _schema(r"[^\s]+", "shop.example", "<>"), spelt(_canonical("senders"))]
Recipient = Annotated[
    str, _schema(r"[^\s]+", "example.org", "*.example.org"), spelt(_canonical("recipients"))
]
Helo = Annotated[str, _schema(r"[^\s]+", "*.shop.example"), spelt(_canonical("helos"))]
Tag = Annotated[str, _schema(r"[A-Za-z0-9_.-]{1,63}", "submission"), spelt(_canonical("tags"))]
