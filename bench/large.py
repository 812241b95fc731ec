"""The routing that servers are measured with: 10,000 rules before a table of a million entries.

Half of the envelopes meet one of the rules, evenly spread; the others are looked up in the table.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from app.routing.change import Kind, Subject
from app.routing.document import read_relay_map, read_rule
from app.routing.next_hop import EntryHop, parse_entry_hop
from app.routing.table import Table, TableKey
from app.routing.writes import Put, Write
from app.server.live import Snapshot
from app.server.main import open_services
from app.settings import ServerSettings
from bench.routings import map_document, rule_document

RULES, ENTRIES = 10_000, 1_000_000
TABLE = Table("domains", TableKey.RECIPIENT_DOMAIN)
HOPS = tuple(f"smtp://mx{n}.example.net:2525" for n in range(50))
_SLICE = 100_000


def key(number: int) -> str:
    """The key of an entry."""
    return f"domain{number}.example"


async def fill(state_dir: Path, rules: int = RULES - 1, entries: int = ENTRIES) -> None:
    """A database of that routing, by the editor and not over HTTP."""
    relay_map = read_relay_map(map_document())
    action = {"kind": "relay", "via": f"table:{TABLE.name}"}
    last = read_rule({"name": "by-domain", "priority": rules, "open_relay": True, "action": action})
    writes: list[Write] = [
        Put(Subject(Kind.RELAY_MAP, relay_map.name), relay_map),
        Put(Subject(Kind.TABLE, TABLE.name), TABLE),
        Put(Subject(Kind.RULE, last.name), last),
    ]
    for number in range(rules):
        rule = read_rule(rule_document(number))
        writes.append(Put(Subject(Kind.RULE, rule.name), rule))
    hops = [parse_entry_hop(hop) for hop in HOPS]
    async with open_services(ServerSettings(state_dir=state_dir)) as services:
        await services.editor.edit(lambda _: writes, author="bench")
        for start in range(0, entries, _SLICE):
            numbers = range(start, min(entries, start + _SLICE))
            await services.editor.edit(partial(_puts, numbers, hops), author="bench")


def _puts(numbers: range, hops: Sequence[EntryHop], snapshot: Snapshot) -> list[Write]:
    del snapshot
    return [
        Put(Subject(Kind.ENTRY, TABLE.name, key(number)), hops[number % len(hops)])
        for number in numbers
    ]


def questions(
    count: int, rules: int = RULES - 1, entries: int = ENTRIES
) -> Sequence[dict[str, str]]:
    """So many distinct envelopes, of which every second one meets a rule."""
    found = []
    for n in range(count):
        customer = n * 7919 % rules
        sender = f"joe@a.customer{customer}.example" if n % 2 else f"ann@other{n}.example"
        found.append({"sender": sender, "recipient": f"u{n}@{key(n * 104_729 % entries)}"})
    return found


def batches(asked: Sequence[dict[str, str]], size: int) -> Sequence[bytes]:
    """The bodies that ask about these, so many at a time."""
    parts = (asked[start : start + size] for start in range(0, len(asked), size))
    return [json.dumps({"envelopes": part}, separators=(",", ":")).encode() for part in parts]
