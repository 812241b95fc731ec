"""The passwords that came with a push, held against what the routing says of them."""

from collections.abc import Iterator, Mapping, Sequence

from app.render.generation import Secret
from app.routing.credential import parse_password, parse_username
from app.routing.errors import ControlError, Refused
from app.routing.hop_kinds import labels_in
from app.routing.routing_table import RoutingTable
from app.routing.rule import RelayAction
from app.routing.uses import kinds_to, labels_in_use, urls_to_ask
from app.wire import SecretMessage


class BadCredentials(ControlError):
    """The passwords do not fit the routing; all that is wrong at once, without any of them."""

    code = "bad-credentials"


def checked(table: RoutingTable, given: Sequence[SecretMessage]) -> Mapping[str, Secret]:
    """The passwords that the rules use, by label; those that no rule uses are forgotten.

    A server that lost its senses, or its owner, cannot make a password leave towards a host that
    its credential does not name.

    Raises:
        BadCredentials: one is missing, of another revision, malformed or misdirected.
    """
    by_label = {message.label: message for message in given}
    wrong = [*_unfit(table, by_label), *_misdirected(table)]
    if wrong:
        raise BadCredentials("; ".join(dict.fromkeys(wrong)))
    used = sorted(labels_in_use(table))
    return {
        label: Secret(label, message.revision, message.username, message.password)
        for label, message in ((label, by_label[label]) for label in used)
    }


def _unfit(table: RoutingTable, by_label: Mapping[str, SecretMessage]) -> Iterator[str]:
    for label in sorted(labels_in_use(table)):
        credential, message = table.credentials.get(label), by_label.get(label)
        if credential is None or message is None:
            yield f"credential {label} is used and did not come"
        elif credential.revision != message.revision:
            yield f"credential {label} came in another revision than the routing says"
        elif not _is_well_formed(message):
            yield f"credential {label} is malformed"


def _is_well_formed(message: SecretMessage) -> bool:
    try:
        parse_username(message.username)
        parse_password(message.password)
    except Refused:
        return False
    return True


def _misdirected(table: RoutingTable) -> Iterator[str]:
    for rule in table.ordered:
        if not isinstance(rule.action, RelayAction):
            continue
        for url in urls_to_ask(table, rule.action.via):
            credential = table.credentials.get(url.credential or "")
            if credential is not None and not credential.allows(url.host):
                yield f"rule {rule.name} sends credential {credential.label} where it may not go"
        if rule.action.tls_verify:
            continue
        for label in sorted(labels_in(kinds_to(table, rule.action.via))):
            credential = table.credentials.get(label)
            if credential is not None and not credential.allow_unverified:
                yield f"rule {rule.name} sends credential {credential.label} to an unverified host"
