"""Among a million entries as among ten: what is changed over HTTP is what smtpd is answered next.

`make soak` runs it with a million; every test run with some thousands.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.routing.change import Kind, Subject
from app.routing.next_hop import parse_entry_hop
from app.routing.table import Table, TableKey
from app.routing.writes import Put, Write
from app.server.live import Snapshot
from app.server.main import open_services
from app.settings import ServerSettings
from tests.mta.agents import table_program
from tests.mta.agents.answers import Answered, answers
from tests.mta.agents.fleet import MTA, SERVER_DIR, Fleet
from tests.mta.agents.machine import A, B, C, Machine
from tests.mta.bed.namespace import Namespace

ENTRIES = int(os.environ.get("RELAYMAP_SOAK_ENTRIES", "100000"))
_SLICE = 100_000
_FIRST_LIMIT_S = 900
_KEYED = Table("keyed", TableKey.RECIPIENT_DOMAIN)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass(frozen=True, slots=True)
class Site:
    """An MTA that serves a table of many entries."""

    machine: Machine
    fleet: Fleet

    def changed(self, method: str, path: str, body: dict[str, Any] | None = None) -> int:
        """Make a change and push it; the revision that is then said to be applied, live."""
        self.fleet.good(method, f"/v1/{path}?push=wait", body)
        newest = self.fleet.good("GET", "/v1/pushes?limit=1")["items"][0]
        (line,) = newest["mtas"]
        assert (line["state"], line["reload"]) == ("applied", "live"), line
        revision: int = newest["revision"]
        return revision


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Namespace.open() as namespace:
        machine = Machine.open(namespace, A, B, C)
        table_program.install(namespace)
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_fill(Path(folder)))
            shutil.copytree(folder, namespace.outside(SERVER_DIR))
        fleet = Fleet.open(namespace)
        fleet.start_server()
        fleet.enroll()
        fleet.start_agent(RELAYMAP_AGENT_APPLY_LIMIT_S=str(_FIRST_LIMIT_S))
        _write_routing(fleet)
        number = fleet.good("POST", "/v1/pushes", {})["id"]
        limit = time.monotonic() + _FIRST_LIMIT_S
        while (push := fleet.good("GET", f"/v1/pushes/{number}"))["state"] == "running":
            assert time.monotonic() < limit, push
            time.sleep(0.1)
        assert push["state"] == "applied", push
        yield Site(machine, fleet)


async def _fill(state_dir: Path) -> None:
    """A database of one big table, by the editor and not over HTTP."""
    async with open_services(ServerSettings(state_dir=state_dir)) as services:
        owner: list[Write] = [Put(Subject(Kind.TABLE, _KEYED.name), _KEYED)]
        await services.editor.edit(lambda _: owner, author="test")
        for start in range(0, ENTRIES, _SLICE):
            numbers = range(start, min(ENTRIES, start + _SLICE))
            await services.editor.edit(partial(_puts, numbers), author="test")


def _puts(numbers: range, snapshot: Snapshot) -> list[Write]:
    del snapshot
    hop = parse_entry_hop(A.url())
    return [Put(Subject(Kind.ENTRY, _KEYED.name, f"t{n}.test"), hop) for n in numbers]


def _write_routing(fleet: Fleet) -> None:
    relays = [{"name": sink.name, "url": sink.url()} for sink in (A, B)]
    fleet.good("PUT", "/v1/relay-maps/pool", {"policy": "ratio", "relays": relays})
    spare = [{"name": C.name, "url": C.url()}]
    fleet.good("PUT", "/v1/relay-maps/spare", {"relays": spare})
    for name, priority, match, via in (
        ("out", 1, {"recipients": ["x.test"]}, "map:pool"),
        ("keyed", 2, {}, "table:keyed"),
    ):
        body = {
            "priority": priority,
            "open_relay": True,
            "match": {"clients": ["any"], **match},
            "action": {"kind": "relay", "via": via},
        }
        fleet.good("PUT", f"/v1/rules/{name}", body)


RULE = {
    "priority": 0,
    "match": {"clients": ["any"], "recipients": ["x.test"]},
    "action": {"kind": "relay", "via": "map:spare"},
}
CHANGES: tuple[tuple[str, str, dict[str, Any] | None, str, set[str]], ...] = (
    # the change, a domain that it is about, and where mail for it goes then
    ("PATCH", "relay-maps/pool/relays/b", {"weight": 9}, "x.test", {"a", "b"}),
    ("PATCH", "relay-maps/pool", {"policy": "failover"}, "x.test", {"a"}),
    ("PUT", "relay-maps/pool/relays/a/state", {"state": "out"}, "x.test", {"b"}),
    ("PUT", "relay-maps/pool/relays/a/state", {"state": "active"}, "x.test", {"a"}),
    ("PUT", "relay-maps/pool/relays/z", {"url": C.url(), "priority": 0}, "x.test", {"a"}),
    ("DELETE", "relay-maps/pool/relays/a", None, "x.test", {"b"}),
    ("PATCH", "relay-maps/pool/relays/b", {"url": A.url()}, "x.test", {"a"}),
    ("PUT", "tables/keyed/entries/t5.test", {"via": B.url()}, "t5.test", {"b"}),
    ("PUT", "tables/keyed/entries/new.test", {"via": "map:spare"}, "new.test", {"c"}),
    ("PUT", "tables/keyed/entries/*.below.test", {"via": B.url()}, "a.b.below.test", {"b"}),
    ("DELETE", "tables/keyed/entries/new.test", None, "new.test", {"550"}),
    ("PUT", "rules/first", RULE, "x.test", {"c"}),
    ("PATCH", "rules/first", {"enabled": False}, "x.test", {"a"}),
    ("PATCH", "rules/first", {"enabled": True, "priority": 3}, "x.test", {"a"}),
    ("PATCH", "rules/out", {"enabled": False}, "x.test", {"c"}),
)


def _decides(domain: str, each: Answered) -> bool:
    """Whether it is who takes the recipient, or which relay it goes to."""
    return each.is_relay or (each.is_decision and each.key == f"u@{domain}")


def test_the_first_question_after_applied_is_answered_from_the_new_revision(site: Site):
    pids = site.machine.pids()
    for method, path, body, domain, places in CHANGES:
        revision = site.changed(method, path, body)
        with answers(site.machine.namespace) as said:
            assert site.machine.goes_to(domain) in places, (method, path)
            said.first(partial(_decides, domain))
            given = said.all(partial(_decides, domain))
        assert {each.revision for each in given} == {revision}, (method, path)
        observed = site.fleet.good("GET", f"/v1/mtas/{MTA}/status")["observed"]
        assert observed["revision"] == revision
    assert site.machine.pids() == pids


def test_what_resolve_says_of_the_mta_is_what_it_does(site: Site):
    """On what it confirmed, by its addresses and what it sees of its relays."""
    for number in (0, 7, ENTRIES // 2, ENTRIES - 1):
        site.changed("PUT", f"tables/keyed/entries/t{number}.test", {"via": C.url()})
        question = f"/v1/resolve?recipient=u@t{number}.test&client=127.0.0.1&mta={MTA}"
        assert site.fleet.good("GET", question)["url"] == C.url()
        assert site.machine.goes_to(f"t{number}.test") == "c"
