"""Every free-text field that the core reads, by the name that the vectors give it."""

from collections.abc import Callable

from app.routing.conditions import CONDITIONS, parse_tag
from app.routing.credential import parse_credential_host, parse_password, parse_username
from app.routing.document import parse_line
from app.routing.envelope import parse_client, parse_helo, parse_mail_address
from app.routing.names import parse_address, parse_domain, parse_label, parse_name, parse_user
from app.routing.next_hop import parse_entry_hop, parse_next_hop
from app.routing.rule import parse_mail_from, parse_pki_name, parse_reject_message
from app.routing.table import TableKey, parse_key


def _condition(name: str) -> Callable[[str], str]:
    return lambda text: CONDITIONS[name]((text,)).texts()[0]


def _key(kind: TableKey) -> Callable[[str], str]:
    return lambda text: parse_key(kind, text)


PARSERS: dict[str, Callable[[str], object]] = {
    "relay_map.name": parse_name,
    "table.name": parse_name,
    "rule.name": parse_name,
    "mta.name": parse_name,
    "relay.name": parse_label,
    "credential.label": parse_label,
    "relay_map.description": parse_line,
    "table.description": parse_line,
    "rule.description": parse_line,
    "mta.description": parse_line,
    "relay.comment": parse_line,
    "state.reason": parse_line,
    "token.name": parse_line,
    "changes.message": parse_line,
    "header Relay-Message": parse_line,
    **{f"rule.match.{name}": _condition(name) for name in CONDITIONS},
    "rule.action.via": parse_next_hop,
    "entry.via": parse_entry_hop,
    "table.default": parse_entry_hop,
    "rule.action.mail_from": parse_mail_from,
    "rule.action.helo": parse_domain,
    "rule.action.message": parse_reject_message,
    "rule.action.sources": parse_address,
    "rule.action.certificate": parse_pki_name,
    "rule.action.ca": parse_pki_name,
    **{f"entry.key {kind.value}": _key(kind) for kind in TableKey},
    "credential.host": parse_credential_host,
    "credential.username": parse_username,
    "credential.password": parse_password,
    "envelope.sender": parse_mail_address,
    "envelope.recipient": parse_mail_address,
    "envelope.client": parse_client,
    "envelope.helo": parse_helo,
    "envelope.auth_user": parse_user,
    "envelope.tag": parse_tag,
}
