"""From one entry PUT until an agent has it in hands: among a million entries, against among ten."""

import asyncio
import json
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path

from app.routing.change import Kind, Subject
from app.routing.delta import read_delta
from app.routing.document import read_relay_map, read_rule
from app.routing.next_hop import ViaMap
from app.routing.table import Table, TableKey
from app.routing.writes import Put, Write
from app.server.live import Snapshot
from app.server.main import open_services
from app.settings import ServerSettings
from app.wire import Have, LineState, MtaState, Observed, PushReport, Reload, Report, Wanted
from bench.rounds import Figure, interleave
from bench.routings import map_document
from bench.servers import Server, relaymap

MANY, FEW = 1_000_000, 10
_SLICE = 100_000
_EDITS = 20
_TABLE = Table("domains", TableKey.RECIPIENT_DOMAIN)


def measure() -> Figure:
    """Wall time of one edit until its delta is read, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        agents = {}
        for entries in (MANY, FEW):
            state_dir = Path(folder) / str(entries)
            state_dir.mkdir(mode=0o700)
            asyncio.run(fill(state_dir, entries))
            agents[entries] = _Agent(stack.enter_context(relaymap(state_dir)))
        return interleave(
            "PUT of an entry and push until the agent has the delta",
            "wall ms an edit",
            {f"among {entries:,} entries": agent.edits for entries, agent in agents.items()},
        )


async def fill(state_dir: Path, entries: int) -> None:
    """A database of one table, by the editor and not over HTTP."""
    relay_map = read_relay_map(map_document())
    hop = ViaMap(relay_map.name)
    action = {"kind": "relay", "via": f"table:{_TABLE.name}"}
    rule = read_rule({"name": "by-domain", "match": {"senders": ["a.test"]}, "action": action})
    owners: list[Write] = [
        Put(Subject(Kind.RELAY_MAP, relay_map.name), relay_map),
        Put(Subject(Kind.TABLE, _TABLE.name), _TABLE),
        Put(Subject(Kind.RULE, rule.name), rule),
    ]
    async with open_services(ServerSettings(state_dir=state_dir)) as services:
        await services.editor.edit(lambda _: owners, author="bench")
        for start in range(0, entries, _SLICE):
            numbers = range(start, min(entries, start + _SLICE))
            await services.editor.edit(partial(_puts, numbers, hop), author="bench")


def _puts(numbers: range, hop: ViaMap, snapshot: Snapshot) -> list[Write]:
    del snapshot
    return [Put(_entry(number), hop) for number in numbers]


def _entry(number: int) -> Subject:
    return Subject(Kind.ENTRY, _TABLE.name, f"customer{number}.example")


class _Agent:
    """An agent that says which model it has."""

    def __init__(self, server: Server) -> None:
        people = server.connect()
        server.call(people, "PUT", "/v1/mtas/mx-out-1", {})
        made = server.call(people, "POST", "/v1/mtas/mx-out-1/token")
        self._server = server
        self._people = people
        self._own = Server(server.process, server.port, str(made["token"]))
        self._connection = self._own.connect()
        self._ports = count(2000)
        self._have: Have | None = None
        self._known = 0
        self._edit()  # the first push gives the whole model

    def edits(self) -> float:
        """Some edits, each pushed and applied; the time of one until it is here."""
        # Whoever was silent while the other one was measured may have been hung up on.
        self._people, self._connection = self._server.connect(), self._own.connect()
        return sum(self._edit() for _ in range(_EDITS)) / _EDITS * 1e3

    def _edit(self) -> float:
        body = {"via": f"smtp://mx9.example.net:{next(self._ports)}"}
        started = time.perf_counter()
        path = f"/v1/tables/{_TABLE.name}/entries/{_entry(5).member}"
        self._server.call(self._people, "PUT", path, body)
        self._server.call(self._people, "POST", "/v1/pushes")
        wanted = self._wanted()
        read_delta(wanted.changes, {_TABLE.name: _TABLE})
        spent = time.perf_counter() - started
        if (wanted.base is None) != (self._have is None):
            raise RuntimeError("a delta was expected, once the first model is there")
        self._report(wanted)
        return spent

    def _wanted(self) -> Wanted:
        path = f"/v1/agent/wanted?known={self._known}&wait=30"
        if self._have is not None:
            path += f"&have={self._have}"
        return Wanted.model_validate(self._own.call(self._connection, "GET", path))

    def _report(self, wanted: Wanted) -> None:
        said = PushReport(push=wanted.push, state=LineState.APPLIED, reload=Reload.LIVE)
        observed = Observed(
            history=wanted.history,
            revision=wanted.revision,
            model_digest=wanted.model_digest,
            files_digest="",
        )
        report = Report(agent="bench", state=MtaState.LIVE, observed=observed, push=said)
        body = json.loads(report.model_dump_json())
        self._own.call(self._connection, "POST", "/v1/agent/reports", body)
        self._have = Have(wanted.history, wanted.revision, wanted.model_digest)
        self._known = wanted.push
