"""An MTA whose agent was away over a big import, and over its undoing, ends where the server is.

`make soak` runs it with a million entries; every test run with some thousands.
"""

import http.client
import json
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.mta.agents import table_program
from tests.mta.agents.fleet import MTA, PORT, Fleet
from tests.mta.agents.machine import A, B, C, Machine
from tests.mta.bed.namespace import Namespace
from tests.mta.bed.sinks import Sink

ENTRIES = int(os.environ.get("RELAYMAP_SOAK_ENTRIES", "100000"))
_FEW_ENTRIES = 5_000
"""What static files can hold."""
_SINKS = (A, B, C)
SAMPLES = ("t0.test", "t7.test", "t2501.test", "t4999.test")
_FEW_KB = 100
"""A push of one entry, and all that is asked around it, is far less; the whole table is more."""
_SLICE = 1_000
_LIMIT_S = 900

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True, slots=True)
class Site:
    """A server and an MTA; its agent comes and goes.

    Attributes:
        count: how many entries are imported.
    """

    machine: Machine
    fleet: Fleet
    count: int

    def start_agent(self) -> None:
        """Let the agent come back, with all the time that it may need."""
        self.fleet.start_agent(RELAYMAP_AGENT_APPLY_LIMIT_S=str(_LIMIT_S))

    @contextmanager
    def agent_away(self) -> Iterator[None]:
        """Have no agent meanwhile, nor the smtpd that it supervises."""
        self.fleet.stop(self.fleet.agent)
        yield
        self.start_agent()

    def push(self) -> int:
        """Push the head; the number of the push."""
        number: int = self.fleet.good("POST", "/v1/pushes", {})["id"]
        return number

    def applied(self, number: int) -> str:
        """Wait until a push is applied; the reload that it took."""
        limit = time.monotonic() + _LIMIT_S
        while (push := self.fleet.good("GET", f"/v1/pushes/{number}"))["state"] == "running":
            assert time.monotonic() < limit, push
            time.sleep(0.1)
        (line,) = push["mtas"]
        assert line["state"] == "applied", line
        self._is_alike()
        reload: str = line["reload"]
        return reload

    def _is_alike(self) -> None:
        """See that the MTA serves just what was pushed, as both sides say."""
        said = self.fleet.good("GET", f"/v1/mtas/{MTA}/status")
        members = ("history", "revision", "model_digest")
        wanted, observed = ({name: said[who][name] for name in members} for who in _WHO)
        assert observed == wanted
        assert said["state"] == "live"

    def imported(self) -> None:
        """Import the entries over HTTP."""
        with closing(self.machine.namespace.connect("127.0.0.1", PORT)) as link:
            connection = http.client.HTTPConnection("127.0.0.1", PORT)
            connection.sock = link
            headers = {
                "Authorization": f"Bearer {self.fleet.token()}",
                "Content-Type": "application/x-ndjson",
            }
            link.settimeout(_LIMIT_S)
            body = _body(self.count)
            connection.request("POST", "/v1/tables/keyed/import", body, headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            assert json.loads(answer.read())["created"] == self.count

    def head(self) -> int:
        """The newest revision."""
        newest: int = self.fleet.good("GET", "/v1/revisions?limit=1")["items"][0]["revision"]
        return newest

    def goes_to(self, *domains: str) -> list[str]:
        """Where the MTA sends mail for each domain."""
        return [self.machine.goes_to(domain) for domain in domains]

    def has_all(self) -> None:
        """See that the MTA has what was imported, and what was there before."""
        wanted = [_sink(int(domain[1:-5])).name for domain in SAMPLES]
        last = self.count - 1
        assert self.goes_to("first.test", *SAMPLES) == ["a", *wanted]
        assert self.goes_to(f"t{last}.test") == [_sink(last).name]
        assert self.goes_to(f"t{self.count}.test") == ["550"]

    def restore(self, revision: int) -> None:
        """Restore a revision on the server."""
        self.fleet.good("POST", f"/v1/revisions/{revision}/restore")

    def entries(self) -> int:
        """How many entries the table has on the server."""
        count: int = self.fleet.good("GET", "/v1/tables/keyed/stats")["entries"]
        return count

    def sent_kb(self) -> int:
        """Kilobytes that were sent inside since the machine began."""
        lines = self.machine.read("/proc/net/dev").splitlines()
        (loopback,) = (line.split() for line in lines if line.strip().startswith("lo:"))
        return int(loopback[9]) // 1024


_WHO = ("wanted", "observed")


def _sink(number: int) -> Sink:
    return _SINKS[number % len(_SINKS)]


def _body(count: int) -> Iterator[bytes]:
    line = '{{"key": "t{}.test", "via": "{}"}}\n'
    for start in range(0, count, _SLICE):
        numbers = range(start, min(count, start + _SLICE))
        yield "".join(line.format(number, _sink(number).url()) for number in numbers).encode()


@pytest.fixture(params=["live", "static"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with Namespace.open() as namespace:
        machine = Machine.open(namespace, A, B, C)
        if request.param == "live":
            table_program.install(namespace)
        fleet = Fleet.open(namespace)
        fleet.start_server()
        fleet.enroll()
        fleet.good("PUT", "/v1/tables/keyed", {"key": "recipient-domain"})
        fleet.good("PUT", "/v1/tables/keyed/entries/first.test", {"via": A.url()})
        body: dict[str, Any] = {
            "open_relay": True,
            "match": {"clients": ["any"]},
            "action": {"kind": "relay", "via": "table:keyed"},
        }
        fleet.good("PUT", "/v1/rules/keyed", body)
        yield Site(machine, fleet, ENTRIES if request.param == "live" else _FEW_ENTRIES)


def test_an_agent_that_was_away_over_an_import_and_over_its_undoing_ends_right(site: Site):
    site.start_agent()
    site.applied(site.push())
    before = site.head()
    assert site.goes_to("first.test", "t0.test") == ["a", "550"]

    with site.agent_away():
        site.imported()
        full, number = site.head(), site.push()
        assert full == before + 1
    site.applied(number)
    site.has_all()

    with site.agent_away():
        site.restore(before)
        number = site.push()
    site.applied(number)
    assert site.entries() == 1
    assert site.goes_to("first.test", *SAMPLES) == ["a", *["550"] * len(SAMPLES)]

    site.restore(full)
    site.applied(site.push())
    assert site.entries() == site.count + 1
    site.has_all()


@pytest.mark.parametrize("site", ["live"], indirect=True)
def test_after_an_import_one_entry_is_sent_as_one(site: Site):
    site.start_agent()
    site.imported()
    site.applied(site.push())
    pids, sent = site.machine.pids(), site.sent_kb()
    site.fleet.good("PUT", "/v1/tables/keyed/entries/t7.test", {"via": A.url()})
    assert site.applied(site.push()) == "live"
    assert site.sent_kb() - sent < _FEW_KB
    assert site.goes_to("t7.test", "t8.test") == ["a", "c"]
    assert site.machine.pids() == pids
