"""MX look-ups against a real name server, with everything that one can do wrong."""

import asyncio

import httpx
import pytest

from app.routing.route import MxAnswer, MxFailure
from app.server.api.app import create_app
from app.server.dns import MAX_TTL_S, MIN_TTL_S, Bounds, MxResolver
from app.server.main import open_services
from app.settings import ServerSettings
from tests.http.conftest import BASE
from tests.http.dns_server import NameServer, hosts, serving
from tests.http.samples import made
from tests.vectors.rows import Row, ids, rows

pytestmark = pytest.mark.anyio

ROWS = rows("mx_lookups")
QUICK = Bounds(whole_s=2.0)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def resolver(server: NameServer, clock: Clock | None = None, **bounds: float) -> MxResolver:
    limits = Bounds(**bounds) if bounds else QUICK  # type: ignore[arg-type]
    return MxResolver([("127.0.0.1", server.port)], limits, clock or Clock())


def text(found: MxAnswer) -> str:
    if isinstance(found, MxFailure):
        return f"{'never' if found.permanent else 'again'} {found.code}"
    return " ".join(["implicit" if found.implicit else "hosts", *found.hosts])


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
async def test_each_answer_of_the_dns_has_its_outcome(row: Row) -> None:
    async with serving(NameServer.of(row["zone"])) as server:
        assert text(await resolver(server).look_up(row["domain"], 0.0)) == row["answer"]


async def test_chance_shuffles_equal_hosts_and_no_others() -> None:
    zone = "d.test MX 10 a.d.test; d.test MX 10 b.d.test; d.test MX 20 c.d.test; "
    zone += "; ".join(f"{name}.d.test A 192.0.2.1" for name in "abc")
    async with serving(NameServer.of(zone)) as server:
        asking = resolver(server)
        orders = {text(await asking.look_up("d.test", n / 10)) for n in range(10)}
    assert orders == {"hosts a.d.test b.d.test c.d.test", "hosts b.d.test a.d.test c.d.test"}


async def test_five_hundred_hosts_come_over_tcp_and_sixteen_are_looked_at() -> None:
    async with serving(NameServer.of("; ".join(hosts(500)))) as server:
        found = await resolver(server, whole_s=3.0).look_up("d.test", 0.0)
    assert text(found) == " ".join(["hosts", *(f"h{n}.d.test" for n in range(16))])
    assert server.over_tcp == 1
    assert len([asked for asked in server.asked if asked.endswith(" A")]) == 16


async def test_a_server_that_names_the_alias_alone_is_asked_again() -> None:
    zone = "alias.test CNAME real.test; real.test MX 10 m.test; m.test A 192.0.2.1"
    async with serving(NameServer.of(zone, follows=False)) as server:
        assert text(await resolver(server).look_up("alias.test", 0.0)) == "hosts m.test"
    assert server.asked[:2] == ["alias.test MX", "real.test MX"]


async def test_a_second_server_is_asked_where_the_first_is_silent() -> None:
    silent = NameServer.of("d.test * SILENCE; a.d.test * SILENCE")
    speaking = NameServer.of("d.test MX 10 a.d.test; a.d.test A 192.0.2.1")
    async with serving(silent), serving(speaking):
        servers = [("127.0.0.1", silent.port), ("127.0.0.1", speaking.port)]
        found = await MxResolver(servers).look_up("d.test", 0.0)
    assert text(found) == "hosts a.d.test"


async def test_an_answer_is_remembered_for_its_time_and_ordered_anew() -> None:
    zone = (
        "d.test MX 10 a.d.test; d.test MX 10 b.d.test; a.d.test A 192.0.2.1; b.d.test A 192.0.2.2"
    )
    clock = Clock()
    async with serving(NameServer.of(zone, ttl_s=60)) as server:
        asking = resolver(server, clock)
        orders = {text(await asking.look_up("d.test", chance)) for chance in (0.0, 0.9)}
        assert len(orders) == 2
        assert server.asked.count("d.test MX") == 1
        clock.now_s = 59.9
        await asking.look_up("d.test", 0.0)
        assert server.asked.count("d.test MX") == 1
        clock.now_s = 60.0
        await asking.look_up("d.test", 0.0)
        assert server.asked.count("d.test MX") == 2


@pytest.mark.parametrize(("ttl_s", "kept_s"), [(0, MIN_TTL_S), (86_400, MAX_TTL_S)])
async def test_times_are_kept_within_bounds(ttl_s: int, kept_s: float) -> None:
    clock = Clock()
    zone = "d.test MX 10 a.d.test; a.d.test A 192.0.2.1"
    async with serving(NameServer.of(zone, ttl_s=ttl_s)) as server:
        asking = resolver(server, clock)
        for now_s in (0.0, kept_s - 0.1, kept_s):
            clock.now_s = now_s
            await asking.look_up("d.test", 0.0)
    assert server.asked.count("d.test MX") == 2


async def test_that_there_is_no_domain_is_remembered_as_its_zone_says() -> None:
    clock = Clock()
    async with serving(NameServer()) as server:
        asking = resolver(server, clock)
        for now_s in (0.0, 29.9, 30.0):  # the SOA's minimum
            clock.now_s = now_s
            assert text(await asking.look_up("nx.test", 0.0)) == "never nxdomain"
    assert server.asked.count("nx.test MX") == 2


async def test_a_passing_failure_is_soon_forgotten() -> None:
    clock = Clock()
    async with serving(NameServer.of("d.test MX SERVFAIL", ttl_s=3600)) as server:
        asking = resolver(server, clock)
        assert text(await asking.look_up("d.test", 0.0)) == "again dns-failure"
        server.records.clear()
        server.add("d.test", "A", "192.0.2.1")
        assert text(await asking.look_up("d.test", 0.0)) == "again dns-failure"
        clock.now_s = MIN_TTL_S
        assert text(await asking.look_up("d.test", 0.0)) == "implicit d.test"


async def test_many_who_ask_for_one_domain_make_one_look_up() -> None:
    zone = "d.test MX 10 a.d.test; a.d.test A 192.0.2.1"
    async with serving(NameServer.of(zone)) as server:
        asking = resolver(server)
        found = await asyncio.gather(*(asking.look_up("d.test", 0.0) for _ in range(50)))
    assert {text(each) for each in found} == {"hosts a.d.test"}
    assert server.asked == ["d.test MX", "a.d.test A"]


async def test_who_goes_away_leaves_the_look_up_to_the_others() -> None:
    zone = "d.test MX 10 a.d.test; a.d.test A 192.0.2.1"
    async with serving(NameServer.of(zone)) as server:
        asking = resolver(server)
        gone = asyncio.ensure_future(asking.look_up("d.test", 0.0))
        stays = asyncio.ensure_future(asking.look_up("d.test", 0.0))
        await asyncio.sleep(0)
        gone.cancel()
        assert text(await stays) == "hosts a.d.test"
    assert server.asked.count("d.test MX") == 1


async def test_black_holes_hold_up_nobody_for_ever() -> None:
    """Sixty at once, two thirds of them silent: each has an answer."""
    zone = "; ".join(
        f"d{n}.test * SILENCE" if n % 3 else f"d{n}.test A 192.0.2.1" for n in range(60)
    )
    async with serving(NameServer.of(zone)) as server:
        asking = resolver(server, whole_s=6.0, in_flight=60)
        found = await asyncio.gather(*(asking.look_up(f"d{n}.test", 0.0) for n in range(60)))
    outcomes = [text(each).partition(" ")[0] for each in found]
    assert (outcomes.count("implicit"), outcomes.count("again")) == (20, 40)


async def test_no_more_than_so_many_are_in_flight() -> None:
    zone = "; ".join(f"d{n}.test * SILENCE" for n in range(10))
    async with serving(NameServer.of(zone)) as server:
        asking = resolver(server, whole_s=1.0, in_flight=2)
        looking = asyncio.gather(*(asking.look_up(f"d{n}.test", 0.0) for n in range(10)))
        while len(server.asked) < 2:  # noqa: ASYNC110  nobody tells of a question
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        # Not at the end: while they time out one by one, the next may come to ask.
        asked = {question.split()[0] for question in server.asked}
        found = await looking
    assert asked == {"d0.test", "d1.test"}
    assert {text(each) for each in found} == {"again dns-timeout"}


async def test_the_oldest_domain_is_forgotten_where_there_are_too_many() -> None:
    async with serving(NameServer()) as server:
        asking = resolver(server, remembered=2)
        for name in ("a.test", "b.test", "a.test", "c.test", "a.test", "b.test"):
            await asking.look_up(name, 0.0)
    assert server.asked == ["a.test MX", "b.test MX", "c.test MX", "b.test MX"]


async def test_a_question_about_plain_mx_asks_the_servers_of_the_settings(
    settings: ServerSettings,
) -> None:
    zone = "d.test MX 10 a.d.test; a.d.test A 192.0.2.1; n.test MX 0 .; t.test * SERVFAIL"
    async with serving(NameServer.of(zone)) as server:
        chosen = settings.model_copy(update={"dns_servers": (("127.0.0.1", server.port),)})
        async with open_services(chosen) as services:
            token = chosen.token_path.read_text().strip()
            transport = httpx.ASGITransport(app=create_app(services))
            headers = {"Authorization": f"Bearer {token}", "Accept": "text/plain"}
            async with httpx.AsyncClient(
                transport=transport, base_url=BASE, headers=headers
            ) as api:
                await made(api, "rules/out", {"action": {"kind": "relay", "via": "mx"}})
                lines = [
                    (await api.get(f"/v1/resolve?recipient=joe@{domain}")).text
                    for domain in ("d.test", "n.test", "t.test", "nx.test")
                ]
    assert lines == [
        "relay smtp://a.d.test:25\n",
        "undeliverable null-mx\n",
        "try-again dns-failure\n",
        "undeliverable nxdomain\n",
    ]
