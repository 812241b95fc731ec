"""What is found by kinds of next hops is what is found by looking at every entry."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing.change import Kind, Subject, apply
from app.routing.check import findings
from app.routing.credential import Credential
from app.routing.document import read_relay_map, read_rule
from app.routing.hop_kinds import kind_of
from app.routing.names import host_address
from app.routing.next_hop import LONGEST_HOST, MX, EntryHop, ViaMap, parse_entry_hop
from app.routing.relay_url import RelayURL
from app.routing.routing_table import RoutingTable
from app.routing.rule import RelayAction, Rule
from app.routing.table import Table, TableKey
from app.routing.uses import labels_in_use
from app.routing.writes import Delete, Put, Write, changes_of
from tests.unit.routing import strategies

LONG = "a" * 60 + ".example"
HOPS = [
    parse_entry_hop(text)
    for text in (
        *("mx", "map:a", "map:b", "map:gone", "r.example", "lmtp://r.example:24"),
        *(
            "tls://r.example",
            "tls://one@r.example",
            "tls://one@s.example",
            "tls://two@[2001:db8::1]",
        ),
        *("smtps://gone@r.example", "smtps://192.0.2.1", "smtp://[2001:db8::2]", f"tls://{LONG}"),
        *("ssl://r.example:25", "smtps://r.example:25", "ssl://r.example", f"ssl://one@{LONG}:587"),
    )
]
KEYS = [f"{letter}.test" for letter in "abcdef"]

LABELS = {"one": ("r.example", LONG), "two": ("[2001:db8::1]",)}
ASKED: tuple[dict[str, object], ...] = (
    {},
    {"ca": "own"},
    {"tls_verify": False},
    {"sources": ["192.0.2.9", "2001:db8::9"]},
)
RULES = [
    read_rule(
        {
            "name": f"r{n}",
            "match": {"senders": [f"s{n}.test"]},
            "action": {"kind": "relay", "via": via, **asked},
        }
    )
    for n, (via, asked) in enumerate(
        product(
            ("table:t", "table:u"),
            ASKED,
        )
    )
]
WHOLE = RoutingTable(
    1,
    maps={
        name: read_relay_map({"name": name, "relays": [{"name": "x", "url": url}]})
        for name, url in (("a", "tls://two@[2001:db8::1]"), ("b", "smtp://192.0.2.2"))
    },
    tables={name: Table(name, TableKey.RECIPIENT_DOMAIN) for name in "tu"},
    entries={"t": {}, "u": {}},
    rules={rule.name: rule for rule in RULES},
    credentials={
        label: Credential(label, 1, hosts, label == "two") for label, hosts in LABELS.items()
    },
)
entry = st.tuples(st.sampled_from("tu"), st.sampled_from(KEYS), st.none() | st.sampled_from(HOPS))
hosts = st.sampled_from(list(LABELS)), st.sampled_from([("r.example",), ("s.example", "*.test")])


def urls_to(table: RoutingTable, hop: EntryHop) -> list[RelayURL]:
    if isinstance(hop, ViaMap):
        found = table.maps.get(hop.name)
        return [] if found is None else [relay.url for relay in found.relays]
    return [hop] if isinstance(hop, RelayURL) else []


def of_entries(table: RoutingTable) -> Iterator[tuple[str, str, str]]:
    """Codes, subjects and pointers of what is wrong with single entries."""
    for name, entries in table.entries.items():
        first: dict[str, tuple[str, EntryHop]] = {}
        for key in sorted(entries):
            hop = entries[key]
            # Of equal next hops one is told of; the spelling decides what it is told of.
            first.setdefault(f"{hop!r}{is_odd(hop)}", (key, hop))
        for key, hop in first.values():
            for code in codes(table, hop):
                yield code, f"tables/{name}/entries/{key}", "/via"


def is_odd(hop: EntryHop) -> bool:
    return isinstance(hop, RelayURL) and hop.schema == "ssl" and hop.effective_port in {25, 587}


def codes(table: RoutingTable, hop: EntryHop) -> Iterator[str]:
    if isinstance(hop, ViaMap) and hop.name not in table.maps:
        yield "dangling-map"
    if not isinstance(hop, RelayURL):
        return
    if hop.credential is not None:
        credential = table.credentials.get(hop.credential)
        if credential is None:
            yield "dangling-credential"
        elif not credential.allows(hop.host):
            yield "credential-not-for-host"
    if len(hop.host) > LONGEST_HOST:
        yield "long-host"
    if is_odd(hop):
        yield "ssl-on-starttls-port"


def of_rules(table: RoutingTable) -> Iterator[tuple[str, str, str]]:
    """The same of what rules ask of the relays that they lead to."""
    for rule in table.rules.values():
        action = rule.action
        assert isinstance(action, RelayAction)
        hops = set(table.entries_of(str(action.via).removeprefix("table:")).values())
        urls = [url for hop in hops for url in urls_to(table, hop)]
        pointers = ["tls_verify"] * (not action.tls_verify) + ["ca"] * (action.ca is not None)
        if MX in hops or not all(url.tls.mandatory for url in urls):
            yield from (
                ("verify-needs-tls", f"rules/{rule.name}", f"/action/{p}") for p in pointers
            )
        for label in {url.credential for url in urls if url.credential} & table.credentials.keys():
            if not action.tls_verify and not table.credentials[label].allow_unverified:
                yield "credential-needs-verify", f"rules/{rule.name}", "/action/tls_verify"
        families = {found.version for url in urls if (found := host_address(url.host))}
        for n, source in enumerate(action.sources):
            if families - {source.version}:
                yield "source-family", f"rules/{rule.name}", f"/action/sources/{n}"


MINE = {
    *("dangling-map", "dangling-credential", "credential-not-for-host", "long-host"),
    *("ssl-on-starttls-port", "verify-needs-tls", "credential-needs-verify", "source-family"),
}


def changed(table: RoutingTable, step: object) -> RoutingTable:
    writes: list[Write] = []
    assert isinstance(step, tuple)
    if len(step) == 2:
        label, given = step
        credential = replace(table.credentials[label], hosts=given)
        writes = [Put(Subject(Kind.CREDENTIAL, label), credential)]
    else:
        name, key, hop = step
        subject = Subject(Kind.ENTRY, name, key)
        if hop is None and key not in table.entries_of(name):
            return table
        writes = [Delete(subject) if hop is None else Put(subject, hop)]
    return apply(table, changes_of(table, writes), table.revision + 1)


@given(st.lists(st.one_of(entry, entry, entry, st.tuples(*hosts)), max_size=12))
def test_findings_are_those_of_every_entry_looked_at(steps: list[object]) -> None:
    table = WHOLE
    for step in [None, *steps]:
        if step is not None:
            table = changed(table, step)
        anew = replace(table, entries={n: dict(found) for n, found in table.entries.items()})
        found = findings(table)
        assert found == findings(anew)
        assert labels_in_use(table) == labels_in_use(anew)
        told = [(each.code, each.subject, each.pointer) for each in found if each.code in MINE]
        of_maps = [each for each in told if each[1].startswith("relay-maps/")]
        wanted = [*of_entries(table), *of_rules(table), *of_maps]
        assert sorted(told) == sorted(wanted)


@given(strategies.relay_urls)
def test_a_kind_tells_the_family_of_an_address(hop: RelayURL) -> None:
    address, kind = host_address(hop.host), kind_of(hop)
    assert not isinstance(kind, ViaMap)
    assert getattr(kind, "family", None) == (None if address is None else address.version)


class Hosts(Mapping[str, Credential]):
    """Credentials that count how often they are asked for."""

    def __init__(self, credentials: Mapping[str, Credential]) -> None:
        self._credentials = credentials
        self.asked = 0

    def __getitem__(self, label: str) -> Credential:
        self.asked += 1
        return self._credentials[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self._credentials)

    def __len__(self) -> int:
        return len(self._credentials)


@pytest.mark.parametrize("rules", [{}, WHOLE.rules])
def test_an_edit_looks_at_no_other_next_hop(rules: Mapping[str, Rule]) -> None:
    credentials = Hosts({"one": Credential("one", 1, ("*.example",), allow_unverified=True)})
    made = {f"k{n}.test": parse_entry_hop(f"tls://one@r{n}.example") for n in range(3_000)}
    table = replace(WHOLE, entries={"t": made, "u": {}}, rules=rules, credentials=credentials)
    findings(table)
    assert credentials.asked >= 3_000
    for number in range(20):
        hop = parse_entry_hop(f"tls://one@new{number}.example")
        table = changed(table, ("t", f"k{number}.test", hop))
        assert table.credentials is credentials
        credentials.asked = 0
        findings(table)
        assert credentials.asked < 20
