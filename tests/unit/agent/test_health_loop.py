"""What follows for mail when relays go down and come back, asked of smtpctl in which order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from math import inf
from pathlib import Path

import pytest

from app.agent.health import InUse, Pace
from app.agent.health_loop import HealthLoop, Rhythm
from app.agent.probe import Found, Prober
from app.agent.reschedule import _Pause
from app.agent.smtpctl import NoAnswer, Smtpctl
from app.routing.relay_url import RelayURL, parse_relay_url
from app.wire import Cause, RelayHealth

pytestmark = [pytest.mark.io, pytest.mark.anyio]

A, B = "192.0.2.1", "192.0.2.2"
ROUTES = f"""\
1. [] <-> {A} (a.test) ND-- nconn=0 nerror=0 penalty=1 timeout=14s
2. [] <-> {B} (b.test) ND-- nconn=0 nerror=0 penalty=1 timeout=14s
"""
UP, DOWN = Found(RelayHealth.UP), Found(RelayHealth.DOWN, Cause.REFUSED)
_LIMIT_S = 60


def waits(number: int, place: str) -> str:
    """A line of smtpd's log."""
    return (
        f"0000000000000000 mta delivery evpid={number:016x} from=<s@x.test> to=<u@y.test>"
        f' rcpt=<-> source="-" relay="{place}" delay=1s result="TempFail"'
        ' stat="Network error on destination MXs"'
    )


def delivered(number: int, place: str) -> str:
    return (
        f"0000000000000001 mta delivery evpid={number:016x} from=<s@x.test> to=<u@y.test>"
        f' rcpt=<-> source="127.0.0.1" relay="{place}" delay=1s result="Ok" stat="250 ok"'
    )


@dataclass(frozen=True, slots=True)
class Looks(Prober):
    """In the place of looks: what they find, by host or by port."""

    found: dict[str | int, Found] = field(default_factory=dict)

    async def __call__(self, url: RelayURL, **_: object) -> Found:
        return self.found.get(url.host) or self.found[url.effective_port]


class Beside:
    """Health beside a program in smtpctl's place, whose ways are all off."""

    def __init__(self, directory: Path) -> None:
        self._asked = directory / "asked"
        self._routes = directory / "routes"
        self._smtpctl = directory / "smtpctl"
        self._routes.write_text(ROUTES)
        self.answers(works=True)
        self.looks = Looks()
        self.told: list[frozenset[tuple[str, str]]] = []
        self.deaf = False
        self.health = HealthLoop(
            self.looks,
            Smtpctl(self._smtpctl),
            self._tell,
            spool=directory,
            pace=Pace(up_s=0.02, otherwise_s=0.02, least_s=0.0, a_second=1e6),
            rhythm=Rhythm(measure_s=1e6, sweep_s=0.02, again_s=0.02),
        )

    def answers(self, *, works: bool) -> None:
        """Let smtpctl do what it is asked, or not."""
        script = f'echo "$*" >>{self._asked}\n[ "$1" != show ] || cat {self._routes}'
        changed = self._smtpctl.with_name("changed")
        changed.write_text(f"#!/bin/sh\n{script if works else 'exit 1'}\n")
        changed.chmod(0o755)
        changed.rename(self._smtpctl)

    @property
    def asked(self) -> list[str]:
        """What was asked of smtpctl, but for what only looks."""
        said = self._asked.read_text().splitlines() if self._asked.exists() else []
        return [line for line in said if not line.startswith("show ")]

    async def _tell(self, down: frozenset[tuple[str, str]]) -> None:
        if self.deaf:
            raise NoAnswer("nobody listens")
        self.told.append(down)

    @asynccontextmanager
    async def run(self, *urls: str) -> AsyncIterator[None]:
        self.use(*urls)
        working = asyncio.create_task(self.health.run())
        try:
            yield
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    def use(self, *urls: str, others: Sequence[str] = ()) -> None:
        """One map of relays that are named by their URLs, and others in a map each."""
        of_map = dict.fromkeys(urls, "m") | {url: f"m{n}" for n, url in enumerate(others)}
        self.health.use(InUse(name, url, parse_relay_url(url)) for url, name in of_map.items())

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(_LIMIT_S):
            while not reached():  # noqa: ASYNC110  it is no event
                await asyncio.sleep(0.005)

    def states(self) -> list[RelayHealth]:
        return [seen.state for seen in self.health.seen()]


@pytest.fixture
def beside(tmp_path: Path) -> Beside:
    return Beside(tmp_path)


async def test_no_mail_is_sent_to_a_relay_that_is_back_before_its_way_is_on(beside: Beside):
    """Neither what waits for it nor what waits for another one of its map, which is down still."""
    beside.looks.found.update({A: DOWN, B: DOWN})
    async with beside.run(f"smtp://{A}", f"smtp://{B}"):
        await beside.until(lambda: bool(beside.told) and len(beside.told[-1]) == 2)
        for number in range(4):
            beside.health.heard(waits(number, (A, B)[number % 2]))
        await asyncio.sleep(0.1)
        assert beside.asked == []  # there is nobody to go to
        beside.looks.found[B] = UP
        await beside.until(lambda: len(beside.asked) >= 5)
    assert beside.asked[0] == "resume route 2"
    assert "resume route 1" not in beside.asked
    scheduled = [line for line in beside.asked if line.startswith("schedule")]
    assert sorted(scheduled) == [f"schedule {number:016x}" for number in range(4)]


async def test_mail_that_meets_nobody_at_a_relay_which_is_up_is_tried_again(beside: Beside):
    """Its session may have begun minutes before the relay came back."""
    beside.looks.found.update({A: UP})
    async with beside.run(f"smtp://{A}"):
        await beside.until(lambda: beside.states() == [RelayHealth.UP])
        beside.health.heard(waits(1, A))
        beside.health.heard(waits(2, B))  # of a relay that is none of ours
        await beside.until(lambda: len(beside.asked) >= 2)
        await asyncio.sleep(0.1)
    assert beside.asked == ["resume route 1", f"schedule {1:016x}"]


async def test_mail_waits_at_an_address_where_another_relay_is_down(beside: Beside):
    """smtpd does not say at which port it was."""
    beside.looks.found.update({2525: UP, 2526: DOWN})
    async with beside.run():
        beside.use(others=[f"smtp://{A}:2525", f"smtp://{A}:2526"])
        await beside.until(lambda: bool(beside.told) and len(beside.told[-1]) == 1)
        await beside.until(lambda: sorted(beside.states()) == [RelayHealth.DOWN, RelayHealth.UP])
        beside.health.heard(waits(1, A))
        await asyncio.sleep(0.1)
        assert beside.asked == []
        beside.looks.found[2526] = UP
        await beside.until(lambda: len(beside.asked) >= 2)
    assert beside.asked == ["resume route 1", f"schedule {1:016x}"]


async def test_mail_is_tried_again_though_nobody_could_be_told_that_the_relay_was_down(
    beside: Beside,
):
    beside.deaf = True
    beside.looks.found.update({A: DOWN})
    async with beside.run(f"smtp://{A}"):
        await beside.until(lambda: beside.states() == [RelayHealth.DOWN])
        beside.health.heard(waits(1, A))
        await asyncio.sleep(0.1)
        beside.looks.found.update({A: UP})
        await beside.until(lambda: len(beside.asked) >= 2)
    assert beside.asked == ["resume route 1", f"schedule {1:016x}"]


async def test_the_ways_to_a_relay_of_a_name_are_those_to_its_addresses(beside: Beside):
    """smtpd's log has the name where there was no session, and the address where there was."""
    found = Found(RelayHealth.UP, addresses=(IPv4Address(B),))
    beside.looks.found.update({"relay.test": found})
    async with beside.run("smtp://relay.test"):
        await beside.until(lambda: beside.states() == [RelayHealth.UP])
        for number in (1, 2):
            beside.health.heard(waits(number, "relay.test"))
            await beside.until(lambda: beside.asked[-1:] == [f"schedule {number:016x}"])  # noqa: B023
            beside.health.heard(delivered(number, B))
    assert beside.asked[:2] == ["resume route 2", f"schedule {1:016x}"]
    assert beside.asked[2:] == ["resume route 2", f"schedule {2:016x}"]


async def test_where_smtpd_fails_and_looks_do_not_it_is_soon_left_to_smtpd(beside: Beside):
    """Until it hands something over there."""
    beside.looks.found.update({A: UP})
    async with beside.run(f"smtp://{A}"):
        await beside.until(lambda: beside.states() == [RelayHealth.UP])
        beside.health.heard(waits(1, A))
        await beside.until(lambda: len(beside.asked) == 2)
        for number in (1, 2, 3):
            beside.health.heard(waits(number, A))
        await asyncio.sleep(0.1)
        assert len(beside.asked) == 2
        beside.health.heard(delivered(3, A))
        await beside.until(lambda: len(beside.asked) == 4)
    assert beside.asked[2:] == ["resume route 1", f"schedule {2:016x}"]


async def test_nothing_is_tried_while_nobody_knows_whether_its_way_is_on(beside: Beside):
    beside.answers(works=False)
    beside.looks.found.update({A: UP})
    async with beside.run(f"smtp://{A}"):
        await beside.until(lambda: beside.states() == [RelayHealth.UP])
        beside.health.heard(waits(1, A))
        await asyncio.sleep(0.1)
        assert beside.asked == []
        beside.answers(works=True)
        await beside.until(lambda: len(beside.asked) >= 2)
    assert beside.asked == ["resume route 1", f"schedule {1:016x}"]


async def test_mail_of_a_relay_that_was_replaced_goes_to_the_one_in_its_place(beside: Beside):
    beside.looks.found.update({A: DOWN, B: UP})
    async with beside.run(f"smtp://{A}"):
        await beside.until(lambda: bool(beside.told) and len(beside.told[-1]) == 1)
        beside.health.heard(waits(1, A))
        await asyncio.sleep(0.1)
        assert beside.asked == []
        beside.use(f"smtp://{B}")
        await beside.until(lambda: len(beside.asked) >= 1)
    assert beside.asked == [f"schedule {1:016x}"]


async def test_a_relay_that_is_back_is_news_for_what_was_in_vain(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.agent.reschedule._NO_PAUSE", _Pause(-inf, 1e6))
    beside.looks.found.update({A: DOWN, B: UP})
    async with beside.run(f"smtp://{A}", f"smtp://{B}"):
        await beside.until(lambda: bool(beside.told) and len(beside.told[-1]) == 1)
        beside.health.heard(waits(1, A))
        await beside.until(lambda: len(beside.asked) == 1)
        beside.health.heard(waits(1, A))
        await asyncio.sleep(0.1)
        assert len(beside.asked) == 1
        beside.looks.found.update({A: UP})
        await beside.until(lambda: len(beside.asked) == 3)
        beside.health.heard(delivered(1, A))
        assert beside.health._rescheduler._hurried == {}
    assert beside.asked[1:] == ["resume route 1", f"schedule {1:016x}"]


async def test_a_relay_that_goes_down_gets_nothing_of_what_was_to_be_tried_there(beside: Beside):
    beside.looks.found.update({A: UP})
    async with beside.run(f"smtp://{A}"):
        await beside.until(lambda: beside.states() == [RelayHealth.UP])
        for number in range(500):
            beside.health.heard(waits(number, A))
        await beside.until(lambda: len(beside.asked) >= 3)
        beside.looks.found.update({A: DOWN})
        await beside.until(lambda: beside.health._acted != frozenset())
        asked = len(beside.asked)
        await asyncio.sleep(0.2)
        assert asked <= len(beside.asked) <= asked + 1 < 500
