"""Reads rendered files back, and refuses files that do not mean what the model means.

Every line must be one that we write; every file must be named by a table and hold what that table
is for. What the files say is reduced to a meaning from their lines alone: lists of regular
expressions, networks and relays, in the order of the `match` lines. The model is reduced to one
from its rules alone. Bytes are never compared with a second rendering, which would repeat the
mistakes of the first.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from app.render.generation import Generation, Secret, Target, Tombstone
from app.render.opensmtpd.intended import meaning_of
from app.render.opensmtpd.key_map import values
from app.render.opensmtpd.meaning import Handed, Meaning, RuleMeaning
from app.render.opensmtpd.read_files import ReadBack, Unreadable, handed, read_files
from app.render.opensmtpd.tombstones import read_tombstone
from app.routing.credential import may_log_in
from app.routing.errors import ControlError
from app.routing.routing_table import RoutingTable
from app.routing.uses import labels_in_use


class ReadBackDiffers(ControlError):
    """Rendered files do not say what the model says; they must not be staged.

    Attributes:
        where: a rule id, the name of an action, or a file; never content.
    """

    code = "read-back-differs"

    def __init__(self, where: str) -> None:
        super().__init__(f"what was rendered does not read back as the model at {where}")
        self.where = where


def check_read_back(
    table: RoutingTable, secrets: Mapping[str, Secret], generation: Generation, target: Target
) -> None:
    """Hold a generation against the model that it was rendered from.

    Args:
        table: the model.
        secrets: by label, as given to `render`.
        generation: the files.
        target: the MTA, as given to `render`.

    Raises:
        ReadBackDiffers: with the first place where they differ.
    """
    try:
        found = read_files(generation, target)
        retired = {stone.action: _retired(table, stone) for stone in target.tombstones}
    except Unreadable as unreadable:
        raise ReadBackDiffers(str(unreadable)) from unreadable
    _same_rules(meaning_of(table, target), found.rules)
    for stone in target.tombstones:
        if stone.action in found.named:
            continue
        if found.retired.get(stone.action) != retired[stone.action]:
            raise ReadBackDiffers(f"action {stone.action}")
    strangers = found.retired.keys() - {stone.action for stone in target.tombstones}
    if strangers:
        raise ReadBackDiffers(f"action {min(strangers)}")
    _same_credentials(table, found, secrets)


def _retired(table: RoutingTable, stone: Tombstone) -> Handed:
    """What a retired action says: as it was, but for relays that may no longer have a password."""
    delivery, urls = read_tombstone(stone)
    verified = delivery.tls is not False
    allowed = [url for url in urls if may_log_in(table.credentials, url, verified=verified)]
    if len(allowed) < len(urls):
        delivery = replace(delivery, url=None)
    relays = None if not urls and not delivery.table else allowed
    # Its text still names the list of its map; it is written with a list of its own, which no
    # other action takes turns at.
    return replace(handed(stone.action, delivery, relays, None), turn="")


def _same_rules(wanted: Meaning, found: Meaning) -> None:
    for one, other in zip(wanted, found, strict=False):
        if one != other:
            raise ReadBackDiffers(f"rule {one.rule_id}")
    if len(wanted) != len(found):
        longer = wanted if len(wanted) > len(found) else found
        raise ReadBackDiffers(f"rule {longer[min(len(wanted), len(found))].rule_id}")


def _same_credentials(table: RoutingTable, found: ReadBack, secrets: Mapping[str, Secret]) -> None:
    """No password of a label that nothing uses, and none missing that something does."""
    retired = frozenset(_labels(found.retired.values()))
    used = frozenset(_labels(o for rule in found.rules for o in _outcomes(rule)))
    for label, pair in found.credentials.items():
        secret = secrets.get(label)
        if secret is None or pair != (secret.username, secret.password):
            raise ReadBackDiffers("credentials")
    given = found.credentials.keys()
    # A retired action asks for a password that is no longer given: its mail waits.
    wanted = used | (retired & secrets.keys())
    if not wanted <= given or not given <= labels_in_use(table) | retired:
        raise ReadBackDiffers("credentials")


def _labels(outcomes: Iterable[object]) -> Iterator[str]:
    for outcome in outcomes:
        if isinstance(outcome, Handed):
            yield from (r.label for r in outcome.relays or () if r.label is not None)


def _outcomes(rule: RuleMeaning) -> Iterator[object]:
    if rule.outcome is not None:
        yield rule.outcome
    for _, normal in rule.keys:
        yield from values(normal)
