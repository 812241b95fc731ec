"""When a relay is up or down, whom to look at next, and how much at once; time stands still."""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import pytest

from app.agent.daemon_log import Delivered, Failed
from app.agent.health import Health, InUse, Pace, Target, target_of
from app.agent.probe import Found
from app.routing.relay_url import parse_relay_url
from app.wire import Cause, RelayHealth, RelaySeen

IP = "192.0.2.1"
UP = Found(RelayHealth.UP, addresses=(ip_address(IP),))
REFUSED = Found(RelayHealth.DOWN, Cause.REFUSED, None, (ip_address(IP),))
BAD_LOGIN = Found(RelayHealth.DOWN, Cause.AUTH_REFUSED, 535, (ip_address(IP),))
NOT_PROBED = Found(RelayHealth.UNKNOWN, addresses=(ip_address("169.254.0.1"),))
PACE = Pace(up_s=30, otherwise_s=5, least_s=1, at_once=4, a_second=10, refused_s=300)


def relay(name: str = "a", url: str = "smtp://a.test", relay_map: str = "m") -> InUse:
    return InUse(relay_map, name, parse_relay_url(url))


@dataclass
class World:
    """Health whose time goes on only when it is told to."""

    chance: Callable[[], float] = lambda: 0.5
    pace: Pace = PACE
    now: float = 1000.0
    told: list[set[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.health = Health(
            lambda down: self.told.append({name for _, name in down}),
            clock=lambda: self.now,
            epoch=lambda: 1_700_000_000 + self.now,
            chance=self.chance,
            pace=self.pace,
        )

    def next_look(self) -> list[Target]:
        """Let time go on until somebody is to be looked at."""
        wait_s = self.health.wait_s()
        assert wait_s is not None
        self.now += wait_s
        return self.health.begin()

    def look(self, *found: Found) -> None:
        """Look at the one relay in use, as often as it says what it is then."""
        for each in found:
            (target,) = self.next_look()
            self.health.found(target, each)

    @property
    def seen(self) -> RelaySeen:
        (seen,) = self.health.seen()
        return seen

    def state(self) -> RelayHealth:
        return self.seen.state


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def one(world: World) -> World:
    world.health.use([relay()])
    return world


def test_at_first_nothing_is_known_and_nobody_is_down(one: World):
    assert (one.state(), one.health.down(), one.told) == (RelayHealth.UNKNOWN, frozenset(), [])


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ([UP], RelayHealth.UP),
        ([REFUSED], RelayHealth.UNKNOWN),
        ([REFUSED, REFUSED], RelayHealth.DOWN),
        ([REFUSED, UP, REFUSED], RelayHealth.UP),
        ([UP, REFUSED], RelayHealth.UP),
        ([UP, REFUSED, UP, REFUSED], RelayHealth.UP),
        ([UP, REFUSED, REFUSED], RelayHealth.DOWN),
        ([REFUSED, REFUSED, UP], RelayHealth.DOWN),
        ([REFUSED, REFUSED, UP, REFUSED, UP], RelayHealth.DOWN),
        ([REFUSED, REFUSED, UP, UP], RelayHealth.UP),
        ([REFUSED, REFUSED, NOT_PROBED], RelayHealth.UNKNOWN),
        ([NOT_PROBED, UP], RelayHealth.UP),
    ],
)
def test_two_looks_in_a_row_turn_a_relay(one: World, found: list[Found], state: RelayHealth):
    one.look(*found)
    assert one.state() is state


def test_it_is_told_when_that_changes_and_only_then(one: World):
    one.look(UP, REFUSED, REFUSED, REFUSED, UP, UP, UP)
    assert one.told == [{"a"}, set()]


BEFORE = frozenset({("m", "a"), ("m", "gone")})


def test_what_was_down_before_is_down_until_looks_say_otherwise(world: World):
    world.health.remember(BEFORE)
    assert world.health.down() == BEFORE  # nobody has said yet who is in use
    world.health.use([relay()])
    assert (world.state(), world.told) == (RelayHealth.DOWN, [{"a"}])
    world.look(UP)
    assert world.state() is RelayHealth.DOWN
    world.look(UP)
    assert (world.state(), world.told) == (RelayHealth.UP, [{"a"}, set()])


def test_what_was_down_before_is_nobodys_later_name(world: World):
    world.health.remember(BEFORE)
    world.health.use([relay()])
    world.look(UP, UP)
    world.health.use([])
    world.health.use([relay()])
    assert world.state() is RelayHealth.UNKNOWN


def test_since_when_and_why(one: World):
    one.look(UP)
    since = one.seen.since
    one.look(UP, Found(RelayHealth.DOWN, Cause.NO_BANNER, 421))
    assert (one.seen.since, one.seen.cause) == (since, None)
    one.look(Found(RelayHealth.DOWN, Cause.NO_BANNER, 421))
    turned = one.seen
    assert turned.since == int(1_700_000_000 + one.now)
    assert (turned.cause, turned.reply) == (Cause.NO_BANNER, 421)
    one.look(REFUSED)  # down still, for another reason
    assert (one.seen.since, one.seen.cause, one.seen.reply) == (turned.since, Cause.REFUSED, None)
    one.look(UP, UP)
    assert (one.seen.cause, one.seen.reply) == (None, None)


@pytest.mark.parametrize(
    ("found", "every_s"),
    [([UP], 30), ([UP, REFUSED], 5), ([REFUSED], 5), ([REFUSED, REFUSED], 5), ([NOT_PROBED], 5)],
)
def test_who_is_not_well_is_looked_at_more_often(one: World, found: list[Found], every_s: float):
    one.look(*found)
    assert one.health.begin() == []
    assert one.health.wait_s() == pytest.approx(every_s)


@pytest.mark.parametrize(("chance", "wait_s"), [(0.0, 27.0), (0.5, 30.0), (1.0, 33.0)])
def test_looks_are_spread(chance: float, wait_s: float):
    world = World(chance=lambda: chance)
    world.health.use([relay()])
    world.look(UP)
    assert world.health.wait_s() == pytest.approx(wait_s)


def test_one_look_is_for_all_that_mean_the_same(world: World):
    world.health.use(
        [
            relay("a", "smtp://a.test"),
            relay("b", "a.test:25"),
            relay("c", "smtp://a.test", "other"),
            relay("d", "smtp+tls://a.test"),
        ]
    )
    looked = world.next_look() + world.next_look()
    assert {target.url.tls.value for target in looked} == {"opportunistic", "starttls"}
    assert world.health.wait_s() is None
    for target in looked * 2:
        world.health.found(target, REFUSED)
    assert world.told[-1] == {"a", "b", "c", "d"}


def test_another_check_of_the_certificate_is_another_look():
    url = parse_relay_url("smtps://a.test")
    kinds = [
        InUse("m", "a", url),
        InUse("m", "b", url, verify=False),
        InUse("m", "c", url, ca_file=Path("/ca")),
    ]
    assert len({target_of(kind) for kind in kinds}) == 3


def test_no_more_than_so_many_at_once(world: World):
    world.health.use([relay(str(n), f"smtp://{n}.test") for n in range(10)])
    looking = []
    while world.health.wait_s() is not None:
        looking += world.next_look()
    assert len(looking) == PACE.at_once
    world.now += 1
    assert world.health.begin() == []
    world.health.found(looking[0], UP)
    assert len(world.next_look()) == 1
    assert world.health.wait_s() is None
    world.health.gave_up(looking[1])
    assert world.health.wait_s() is not None


def test_no_more_than_so_many_a_second(world: World):
    world.health.use([relay(str(n), f"smtp://{n}.test") for n in range(100)])
    began: list[float] = []
    while len(began) < 100:
        for target in world.next_look():
            began.append(world.now)
            world.health.found(target, UP)
    assert began[-1] - began[0] == pytest.approx(99 / PACE.a_second)
    assert len(set(began)) == 100


def test_everybody_gets_their_turn(world: World):
    """Also where there are more relays than the budget can look at in their interval."""
    world.health.use([relay(str(n), f"smtp://{n}.test") for n in range(200)])
    seen: dict[Target, int] = {}
    for _ in range(600):
        (target,) = world.next_look()
        seen[target] = seen.get(target, 0) + 1
        world.health.found(target, REFUSED)
    assert set(seen.values()) == {3}


def test_one_failed_look_is_enough_when_the_daemon_failed_too(one: World):
    one.look(UP)
    one.health.failed(Failed(IP, 25, Cause.REFUSED))
    assert one.health.wait_s() == pytest.approx(PACE.least_s)
    one.look(REFUSED)
    assert one.state() is RelayHealth.DOWN


def test_the_daemon_alone_makes_nobody_down(one: World):
    one.look(UP)
    for _ in range(5):
        one.health.failed(Failed(IP, 25, Cause.CERTIFICATE))
        one.look(UP)
    assert (one.state(), one.told) == (RelayHealth.UP, [])


def test_a_relay_at_which_the_daemon_has_failed_is_not_up_before_the_next_look(one: World):
    (in_use,) = one.health.relays()
    found = [one.health.is_up(in_use)]
    for _ in range(2):
        one.look(UP)
        found.append(one.health.is_up(in_use))
        one.health.failed(Failed(IP, 25))
        found.append(one.health.is_up(in_use))
    one.look(REFUSED)
    found.append(one.health.is_up(in_use))
    assert found == [False, True, False, True, False, False]
    assert not one.health.is_up(relay("b", "smtp://b.test"))


def test_a_log_full_of_failures_makes_no_storm_of_looks(one: World):
    one.look(UP)
    began = one.now
    for _ in range(10):
        for _ in range(100):
            one.health.failed(Failed(IP, 25))
        one.look(UP)
    assert one.now - began == pytest.approx(10 * PACE.least_s)
    assert len(one.health._heap) < 20


@pytest.mark.parametrize(
    ("failed", "wait_s"),
    [
        (Failed("a.test"), PACE.least_s),
        (Failed("a.test", 25, Cause.NO_ADDRESS), PACE.least_s),
        (Failed(IP), PACE.least_s),
        (Failed(IP, 25), PACE.least_s),
        (Failed(IP, 465), PACE.up_s),
        (Failed("192.0.2.2", 25), PACE.up_s),
        (Failed("b.test"), PACE.up_s),
    ],
)
def test_a_failure_is_of_who_has_that_address(one: World, failed: Failed, wait_s: float):
    one.look(UP)
    one.health.failed(failed)
    assert one.health.wait_s() == pytest.approx(wait_s)


def test_a_refused_login_is_known_from_the_daemon_and_stays_until_mail_or_time_tell_more(
    world: World,
):
    world.health.use([relay("a", "smtps://out@a.test")])
    world.look(UP)
    world.health.failed(Failed(IP, 465, Cause.AUTH_REFUSED, 535))
    seen = world.seen
    assert (seen.state, seen.cause, seen.reply) == (RelayHealth.DOWN, Cause.AUTH_REFUSED, 535)
    world.look(UP, UP, UP)  # without a login, a look cannot know
    assert world.state() is RelayHealth.DOWN
    world.health.delivered(Delivered("0" * 16, IP, 465))
    world.look(UP)
    assert world.state() is RelayHealth.UP
    world.health.failed(Failed(IP, 465, Cause.AUTH_REFUSED, 535))
    world.now += PACE.refused_s
    world.look(UP, UP)
    assert world.state() is RelayHealth.UP


def test_which_of_two_logins_was_refused_cannot_be_told(world: World):
    world.health.use(
        [
            relay("a", "smtps://out@a.test"),
            relay("b", "smtps://in@a.test"),
            relay("c", "smtps://a.test"),
        ]
    )
    for _ in range(3):
        (target,) = world.next_look()
        world.health.found(target, UP)
    world.health.failed(Failed(IP, 465, Cause.AUTH_REFUSED, 535))
    assert {seen.state for seen in world.health.seen()} == {RelayHealth.UP}


def test_an_asked_for_login_is_believed_at_once_both_ways(world: World):
    in_use = relay("a", "smtps://out@a.test")
    world.health.use([in_use])
    world.look(UP)
    world.health.found(target_of(in_use), BAD_LOGIN, logged_in=True)
    assert world.seen.cause is Cause.AUTH_REFUSED
    world.look(UP, UP)
    assert world.state() is RelayHealth.DOWN
    world.health.found(target_of(in_use), UP, logged_in=True)
    assert world.state() is RelayHealth.UP


def test_what_stays_in_use_keeps_what_is_known(world: World):
    world.health.use([relay("a"), relay("b", "smtp://b.test")])
    for found in (REFUSED, REFUSED):
        for _ in range(2):
            (target,) = world.next_look()
            world.health.found(target, found)
    assert world.told[-1] == {"a", "b"}
    world.health.use([relay("renamed"), relay("new", "smtp://new.test")])
    assert world.told[-1] == {"renamed"}
    assert [seen.state for seen in world.health.seen()] == [RelayHealth.UNKNOWN, RelayHealth.DOWN]
    assert [str(target.url) for target in world.next_look()] == ["smtp://new.test"]


def test_what_is_found_of_one_that_is_gone_is_dropped(one: World):
    (target,) = one.next_look()
    one.health.use([])
    one.health.found(target, REFUSED)
    assert (one.health.seen(), one.health.wait_s(), one.told) == ([], None, [])
    one.health.failed(Failed("a.test", 25))
    assert one.health.at("a.test") == []


def test_one_that_comes_back_while_it_is_looked_at_is_not_looked_at_twice(one: World):
    (target,) = one.next_look()
    one.health.use([])
    one.health.use([relay()])
    one.now += 1
    assert one.health.begin() == []
    one.health.found(target, UP)
    assert one.state() is RelayHealth.UP
    assert one.health.wait_s() == pytest.approx(PACE.up_s)


def test_a_look_that_was_not_possible_counts_for_nothing(one: World):
    one.look(UP, REFUSED)
    (target,) = one.next_look()
    one.health.gave_up(target)
    assert one.state() is RelayHealth.UP
    one.look(REFUSED)
    assert one.state() is RelayHealth.DOWN


def test_relays_are_found_by_every_address(one: World):
    two = (ip_address(IP), ip_address("2001:db8::1"))
    one.look(Found(RelayHealth.UP, addresses=two))
    assert one.health.places(relay()) == {"a.test", IP, "2001:db8::1"}
    assert [each.relay for each in one.health.at("2001:db8::1")] == ["a"]
    one.look(UP)
    assert one.health.at("2001:db8::1") == []


def test_each_turn_is_counted_and_nothing_else(one: World):
    one.look(UP, UP, REFUSED, REFUSED, REFUSED, UP, UP)
    assert one.state() is RelayHealth.UP
    assert one.health.turns == 3  # up, down, up again
