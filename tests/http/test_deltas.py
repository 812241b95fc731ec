"""An agent that says which model it has is told what changed since, and else the whole."""

from collections.abc import Mapping
from dataclasses import replace

import httpx
import pytest

from app.routing.change import Kind, Subject
from app.routing.check import findings
from app.routing.delta import MAX_DELTA, done, read_delta
from app.routing.model import model_digest, read_model
from app.routing.next_hop import MX
from app.routing.routing_table import RoutingTable
from app.routing.writes import Delete, Put
from app.server.api.services import Services
from app.server.live import Mark, Marks
from app.wire import Have, LineState, Wanted
from tests.http.agents import Agent
from tests.http.conftest import Clock
from tests.unit.routing.counting import Counting

pytestmark = pytest.mark.anyio

MAP = {"relays": [{"url": "smtp://mx1.example.net"}, {"url": "tls://acct@mx2.example.net"}]}
ACCT = {"username": "joe", "password": "s3cret-1", "hosts": ["*.example.net"]}
SPARE = {"username": "ann", "password": "s3cret-2", "hosts": ["*.example.net"]}


class LiveAgent(Agent):
    """Keeps the model that it was given, and does to it what it is told."""

    table = RoutingTable()

    async def take(self) -> Wanted:
        wanted = await self.ask(0)
        assert wanted is not None
        if wanted.base is None:
            assert wanted.changes == []
            self.table = read_model(wanted.model, wanted.revision)
        else:
            assert self.have is not None
            assert wanted.base == self.have.digest == model_digest(self.table)
            assert wanted.model == {}
            writes = read_delta(wanted.changes, self.table.tables)
            self.table = done(self.table, writes, wanted.revision)
        assert model_digest(self.table) == wanted.model_digest
        self.have = Have(wanted.history, wanted.revision, wanted.model_digest)
        await self.begin(wanted)
        await self.end(wanted, LineState.APPLIED)
        return wanted


@pytest.fixture
async def agent(api: httpx.AsyncClient, services: Services) -> LiveAgent:
    """The agent of an MTA that has a routing with something of everything."""
    await put(api, "credentials/acct", ACCT)
    await put(api, "credentials/spare", SPARE)
    await put(api, "relay-maps/pool", MAP)
    await put(api, "tables/t", {"key": "recipient-domain"})
    await put(api, "tables/t/entries/a.test", {"via": "map:pool"})
    await put(api, "rules/r", {"action": {"kind": "relay", "via": "table:t"}})
    agent = await LiveAgent.of(api, "mx-out-1")
    agent.version = None  # what static files can say of this is another question
    await agent.tell()
    await push(api)
    assert (await agent.take()).base is None
    return agent


async def put(api: httpx.AsyncClient, path: str, body: Mapping[str, object]) -> None:
    (await api.put(f"/v1/{path}", json=body)).raise_for_status()


async def push(api: httpx.AsyncClient) -> None:
    (await api.post("/v1/pushes")).raise_for_status()


def subjects(wanted: Wanted) -> list[tuple[object, object, object, bool]]:
    return [(c["kind"], c["name"], c["member"], c["value"] is not None) for c in wanted.changes]


async def test_one_entry_is_one_row(api: httpx.AsyncClient, agent: LiveAgent) -> None:
    await put(api, "tables/t/entries/b.test", {"via": "mx"})
    await push(api)
    wanted = await agent.take()
    value = {"key": "b.test", "via": "mx"}
    assert wanted.changes == [{"kind": "entries", "name": "t", "member": "b.test", "value": value}]
    assert wanted.secrets == []
    await api.delete("/v1/tables/t/entries/b.test")
    await push(api)
    assert subjects(await agent.take()) == [("entries", "t", "b.test", False)]


async def test_several_edits_are_told_at_once(api: httpx.AsyncClient, agent: LiveAgent) -> None:
    await put(api, "tables/t/entries/b.test", {"via": "mx"})
    await api.delete("/v1/tables/t/entries/b.test")
    await api.patch("/v1/relay-maps/pool", json={"policy": "random", "description": "x"})
    await put(api, "relay-maps/pool/relays/mx1.example.net/state", {"state": "out", "reason": "x"})
    await api.patch("/v1/tables/t", json={"description": "for people"})
    await push(api)
    assert subjects(await agent.take()) == [
        ("relay-maps", "pool", "", True),
        ("state", "pool", "mx1.example.net", True),
    ]


async def test_a_push_of_nothing_new_is_told_so(api: httpx.AsyncClient, agent: LiveAgent) -> None:
    await push(api)
    wanted = await agent.take()
    assert (wanted.changes, wanted.secrets) == ([], [])
    await api.patch("/v1/rules/r", json={"description": "for people"})
    await push(api)
    assert (await agent.take()).changes == []


async def test_edits_after_the_push_are_not_told(api: httpx.AsyncClient, agent: LiveAgent) -> None:
    await put(api, "tables/t/entries/b.test", {"via": "mx"})
    await push(api)
    await put(api, "tables/t/entries/c.test", {"via": "mx"})
    await api.delete("/v1/tables/t/entries/b.test")
    assert subjects(await agent.take()) == [("entries", "t", "b.test", True)]


async def test_passwords_come_when_they_are_new_and_go_with_their_use(
    api: httpx.AsyncClient, agent: LiveAgent
) -> None:
    await put(api, "tables/t/entries/b.test", {"via": "tls://spare@mx3.example.net"})
    await push(api)
    wanted = await agent.take()
    assert [each.label for each in wanted.secrets] == ["spare"]
    assert subjects(wanted)[0] == ("credentials", "spare", "", True)
    await put(api, "credentials/acct", ACCT | {"password": "s3cret-3"})
    await push(api)
    wanted = await agent.take()
    assert [(each.label, each.password) for each in wanted.secrets] == [("acct", "s3cret-3")]
    await api.patch("/v1/rules/r", json={"enabled": False})
    await push(api)
    wanted = await agent.take()
    assert wanted.secrets == []
    assert ("credentials", "acct", "", False) in subjects(wanted)
    assert ("credentials", "spare", "", False) in subjects(wanted)
    assert ("rules", "r", "", False) in subjects(wanted)


async def test_a_password_that_changed_after_the_push_ends_it(
    api: httpx.AsyncClient, agent: LiveAgent
) -> None:
    await put(api, "tables/t/entries/b.test", {"via": "mx"})
    await push(api)
    await put(api, "credentials/acct", ACCT | {"password": "s3cret-3"})
    assert await agent.ask() is None, "though this one would not have been sent"
    await push(api)
    assert [each.label for each in (await agent.take()).secrets] == ["acct"]


@pytest.mark.parametrize(
    "other",
    [{"history": "0" * 32}, {"digest": "0" * 64}, {"revision": 2}, {"revision": 999}],
    ids=str,
)
async def test_another_model_than_ours_gets_the_whole(
    api: httpx.AsyncClient, agent: LiveAgent, other: dict[str, object]
) -> None:
    await put(api, "tables/t/entries/b.test", {"via": "mx"})
    await push(api)
    assert agent.have is not None
    agent.have = agent.have._replace(**other)  # type: ignore[arg-type]
    wanted = await agent.take()
    assert (wanted.base, [each.label for each in wanted.secrets]) == (None, ["acct"])


@pytest.mark.parametrize("have", ["", "x", "a:1", f"a:-1:{'0' * 64}", f"a:1:{'0' * 64}\n"], ids=str)
async def test_what_is_no_model_is_refused(agent: LiveAgent, have: str) -> None:
    answer = await agent._api.get("/v1/agent/wanted", params={"have": have}, headers=agent._headers)
    assert answer.status_code == 422, answer.text


async def test_much_is_told_as_a_whole(
    api: httpx.AsyncClient, agent: LiveAgent, services: Services
) -> None:
    subjects = [Subject(Kind.ENTRY, "t", f"k{n}.test") for n in range(MAX_DELTA)]
    await services.editor.edit(lambda _: [Put(each, MX) for each in subjects], author="x")
    await push(api)
    wanted = await agent.take()
    assert len(wanted.changes) == MAX_DELTA
    await services.editor.edit(lambda _: [Delete(each) for each in subjects], author="x")
    await put(api, "tables/t/entries/b.test", {"via": "mx"})
    await push(api)
    assert (await agent.take()).base is None
    assert sorted(agent.table.entries["t"]) == ["a.test", "b.test"]


async def test_what_the_journal_forgot_is_told_as_a_whole(
    api: httpx.AsyncClient, agent: LiveAgent, services: Services, clock: Clock
) -> None:
    for key in ("b", "c", "d"):
        await put(api, f"tables/t/entries/{key}.test", {"via": "mx"})
    await push(api)
    clock.move(days=1)
    assert await services.store.prune(1, clock()) > 0
    assert (await agent.take()).base is None


async def test_an_agent_that_has_nothing_is_given_the_whole_as_ever(
    api: httpx.AsyncClient, agent: LiveAgent
) -> None:
    agent.have = None
    await put(api, "tables/t/entries/b.test", {"via": "mx"})
    await push(api)
    wanted = await agent.take()
    assert (wanted.base, wanted.changes) == (None, [])
    assert sorted(wanted.model) == ["credentials", "out", "relay_maps", "rules", "tables"]


async def test_nothing_walks_over_the_entries_because_one_is_put_and_pushed(
    api: httpx.AsyncClient, agent: LiveAgent, services: Services, clock: Clock
) -> None:
    kept = Counting({f"k{number}.test": MX for number in range(20_000)})
    marked = Counting(dict.fromkeys(kept, Mark(1, clock(), clock())))
    now = services.live.current()
    marks = Marks({**now.marks._parts, (Kind.ENTRY, "t"): marked})
    table = replace(now.table, entries={"t": kept})
    services.live.replace(replace(now, table=table, marks=marks))
    services.pushes._pins.keep({})
    services.pushes._pins._deltas.clear()
    agent.table = services.live.current().table
    assert agent.have is not None
    agent.have = agent.have._replace(digest=model_digest(agent.table))
    findings(table)
    walks, documents = (kept.walks, marked.walks), len(services.pushes._pins._documents)
    for number in range(10):
        await put(api, f"tables/t/entries/new{number}.test", {"via": "map:pool"})
        await push(api)
        told = subjects(await agent.take())
        assert told[-1] == ("entries", "t", f"new{number}.test", True)
        assert len(told) == (2 if number == 0 else 1), "first the map's credential comes into use"
    assert (await api.get("/v1/tables/t/entries/new9.test")).json()["via"] == "map:pool"
    assert (await api.delete("/v1/tables/t/entries/new9.test")).status_code == 204
    assert len(services.live.current().table.entries["t"]) == 20_009
    assert (kept.walks, marked.walks) == walks
    assert len(services.pushes._pins._documents) == documents
