"""What an edit would do, decided before it is stored: ids, revisions, and what refuses it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType

from app.routing.change import Change, Kind, Subject, diff, one_by_one
from app.routing.check import Finding, Severity, findings, missing_credentials
from app.routing.credential import Credential
from app.routing.errors import CredentialMissing, Fault, Invalid, LimitReached, StillReferenced
from app.routing.next_hop import ViaMap, ViaTable
from app.routing.routing_table import RoutingTable
from app.routing.rule import Rule
from app.routing.uses import (
    Named,
    in_maps,
    in_rules,
    in_tables,
    named_by,
    named_by_entries,
    users_of,
)
from app.routing.writes import Delete, Put, PutMany, PutRelay, Write, changes_of
from app.server.storage import NewSecret

LIMITS: Mapping[str, int] = MappingProxyType(
    {"maps": 10_000, "rules": 10_000, "credentials": 10_000, "tables": 1_000}
)
"""How many of each collection of a RoutingTable are promised to work."""
MAX_ENTRIES = 5_000_000
MAX_USERS_NAMED = 20

_WORDS = {"maps": "relay maps"}
_REFERENCED = frozenset({Kind.RELAY_MAP, Kind.TABLE, Kind.CREDENTIAL})


@dataclass(frozen=True, slots=True)
class Proposal:
    """Changes that somebody wants, and what belongs to them.

    Attributes:
        rule_counter: number of the last rule id given, once they are made.
        secrets: by label, those that differ from what is stored.
        writes: what was asked for; empty where a restore asked.
    """

    changes: Sequence[Change]
    rule_counter: int
    secrets: Mapping[str, NewSecret] = field(default_factory=dict)
    writes: tuple[Write, ...] = ()


def propose(
    table: RoutingTable,
    writes: Sequence[Write],
    rule_counter: int,
    given: Mapping[str, NewSecret],
    stored: Mapping[str, NewSecret],
) -> Proposal:
    """What writes would do to a table.

    Args:
        table: as it is now.
        writes: the ids of rules and the revisions of credentials in them are ignored.
        rule_counter: number of the last rule id given.
        given: the secrets that came with the writes, by label.
        stored: the secrets that are kept under the same labels.

    Raises:
        Invalid: a new credential comes without a secret.
        Unknown: a write deletes, or needs, something that is not there.
    """
    changed = {label: new for label, new in given.items() if stored.get(label) != new}
    named, counter = _with_rule_ids(table, writes, rule_counter)
    final = tuple(_with_revision(table, write, changed) for write in named)
    changes = changes_of(table, final)
    single = tuple(one_by_one(changes))
    put = {change.subject.name for change in single if change.subject.kind is Kind.CREDENTIAL}
    secrets = {label: new for label, new in changed.items() if label in put}
    kept = counter if any(change.subject.kind is Kind.RULE for change in single) else rule_counter
    return Proposal(changes, kept, secrets, final)


def _with_rule_ids(
    table: RoutingTable, writes: Iterable[Write], counter: int
) -> tuple[list[Write], int]:
    """A rule keeps the id of its name; one deleted and made again is another rule."""
    ids: dict[str, str | None] = {}
    named: list[Write] = []
    for write in writes:
        subject = getattr(write, "subject", None)
        if subject is not None and subject.kind is Kind.RULE:
            if isinstance(write, Delete):
                ids[subject.name] = None
            elif isinstance(write, Put) and isinstance(write.value, Rule):
                known = table.rules.get(subject.name)
                known_id = ids.get(subject.name, None if known is None else known.id)
                if known_id is None:
                    counter += 1
                    known_id = f"r{counter}"
                ids[subject.name] = known_id
                write = Put(subject, replace(write.value, id=known_id))  # noqa: PLW2901
        named.append(write)
    return named, counter


def _with_revision(table: RoutingTable, write: Write, changed: Mapping[str, NewSecret]) -> Write:
    """A credential's revision moves with its secret and its hosts, and with nothing else."""
    if not (isinstance(write, Put) and isinstance(write.value, Credential)):
        return write
    label = write.subject.name
    old = table.credentials.get(label)
    if old is None and label not in changed:
        detail = "a new credential needs a username and a password"
        raise Invalid((Fault("missing", detail, "/password"),))
    if old is not None and label not in changed:
        same = replace(write.value, revision=old.revision)
        if same == old:
            return Put(write.subject, same)
    return Put(write.subject, replace(write.value, revision=table.revision + 1))


def check(table: RoutingTable, after: RoutingTable, proposal: Proposal) -> tuple[Finding, ...]:
    """The warnings of a table as it would be after what is proposed.

    Raises:
        LimitReached: it holds more of a kind than is promised to work.
        StillReferenced: what was deleted is still used.
        Invalid: every error finding.
    """
    _refuse_too_many(table, after)
    _refuse_if_used(after, proposal.changes)
    found = findings(after)
    errors = [finding for finding in found if finding.severity is Severity.ERROR]
    if errors:
        raise Invalid(tuple(_fault(finding, proposal.writes, after) for finding in errors))
    return found


def _refuse_too_many(before: RoutingTable, after: RoutingTable) -> None:
    for collection, limit in LIMITS.items():
        count = len(getattr(after, collection))
        if count > limit and count > len(getattr(before, collection)):
            raise LimitReached(_WORDS.get(collection, collection), limit)
    if after.entries is not before.entries:
        count = sum(map(len, after.entries.values()))
        if count > MAX_ENTRIES and count > sum(map(len, before.entries.values())):
            raise LimitReached("entries", MAX_ENTRIES)


def _refuse_if_used(after: RoutingTable, changes: Iterable[Change]) -> None:
    gone = [
        change.subject
        for change in one_by_one(changes)
        if change.after is None and change.subject.kind in _REFERENCED
    ]
    named = _named(after) if gone else set()
    for subject in gone:
        if subject in named:
            users = users_of(after, subject)
            listed = tuple(str(user) for user in islice(users, MAX_USERS_NAMED))
            raise StillReferenced(listed, sum(1 for _ in users))


def _named(table: RoutingTable) -> set[Subject]:
    """Every map, table and credential that something names: one look for any number of deletes."""
    written = (*in_maps(table.maps), *in_tables(table.tables), *in_rules(table.rules))
    return {_subject_of(named) for named in named_by(written) | named_by_entries(table)}


def _subject_of(named: Named) -> Subject:
    if isinstance(named, ViaMap):
        return Subject(Kind.RELAY_MAP, named.name)
    if isinstance(named, ViaTable):
        return Subject(Kind.TABLE, named.name)
    return Subject(Kind.CREDENTIAL, named)


def _fault(finding: Finding, writes: tuple[Write, ...], after: RoutingTable) -> Fault:
    """A finding, as a fault of the body that caused it where one can be named."""
    pointer = ""
    for position, write in enumerate(writes):
        if str(_subject(write)) == finding.subject and not isinstance(write, Delete):
            base = f"/changes/{position}/body" if len(writes) > 1 else ""
            pointer = base + _within(write, finding.pointer, after)
    detail = finding.detail if pointer else f"{finding.subject}: {finding.detail}"
    return Fault(finding.code, detail, pointer)


def _subject(write: Write) -> Subject:
    if isinstance(write, Put | Delete):
        return write.subject
    if isinstance(write, PutMany):
        return Subject(Kind.TABLE, write.table)
    return Subject(Kind.RELAY_MAP, write.relay_map)


def _within(write: Write, pointer: str, after: RoutingTable) -> str:
    """A pointer into a map, as one into the body of the relay that was written."""
    if isinstance(write, PutRelay):
        relays = after.maps[write.relay_map].relays
        position = next(n for n, relay in enumerate(relays) if relay.name == write.relay.name)
        return pointer.removeprefix(f"/relays/{position}")
    return pointer


def propose_restore(now: RoutingTable, then: RoutingTable, rule_counter: int) -> Proposal:
    """What makes maps, tables and rules of `now` what they were `then`.

    Credentials stay, and so do the states of relays that are there both times.

    Raises:
        CredentialMissing: labels are gone or not allowed for their hosts; all are listed.
    """
    kept = {
        (name, relay): state
        for (name, relay), state in now.states.items()
        if name in then.maps and then.maps[name].relay(relay) is not None
    }
    restored = replace(then, revision=now.revision, states=kept, credentials=now.credentials)
    missing = missing_credentials(restored)
    if missing:
        raise CredentialMissing(missing)
    return Proposal(diff(now, restored), rule_counter)
