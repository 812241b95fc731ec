"""Answers: each step of smtpd's walk, and what an envelope in pieces comes to."""

from pathlib import Path

import pytest

from app.routing.live_file import Login
from app.table_program.answers import Relays, Walk
from app.table_program.channel import Answer, Question
from app.table_program.log import Log
from app.table_program.main import Turns
from tests.unit.routing.making import routing
from tests.unit.table_program import asking

pytestmark = pytest.mark.io

ROUTING = {
    "maps": {"a": {"policy": "failover", "relays": ["smtp://192.0.2.1"]}},
    "rules": [
        {"match": {"auth_users": ["joe"]}, "action": "smtp://192.0.2.2"},
        {"match": {"clients": ["2001:db8::/32"]}, "action": "smtp://192.0.2.3"},
        {"match": {"clients": ["fe80::/10"]}, "action": "smtp://192.0.2.4"},
        {"match": {"tags": ["in"]}, "action": "smtp://192.0.2.5"},
        {"match": {"senders": ["<>"]}, "action": "smtp://192.0.2.6"},
        {"match": {"helos": ["*.mx.test"]}, "action": "smtp://192.0.2.7"},
        {"match": {"recipients": ["dst.test"]}, "action": "map:a"},
    ],
}
RULES = len(ROUTING["rules"])
LAST = RULES - 1


class InProcess:
    """Asks a walk without anything between."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk

    def ask(self, kind: str, service: str, key: str = "") -> Answer:
        return self.walk.answer(Question(kind, service, key, "01"))


@pytest.fixture
def said() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def asker(tmp_path: Path, said: list[tuple[str, str]]) -> InProcess:
    content = asking.content(routing(ROUTING))
    asking.write(tmp_path, content)
    names = [each.name for each in content.actions]
    say = lambda cause, what: said.append((cause, what))  # noqa: E731
    return InProcess(Walk(asking.reader(tmp_path), names, say))


def walk(asker: InProcess, **envelope: object) -> int | str | None:
    return asking.walk(asker, lines=RULES + 3, **envelope)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("envelope", "action"),
    [
        ({}, LAST),
        ({"user": "joe"}, 0),
        ({"user": "JOE"}, 0),
        ({"user": "ann"}, LAST),
        ({"user": ""}, LAST),
        ({"client": "[2001:db8::5]"}, 1),
        ({"client": "[IPv6:2001:db8::5]"}, 1),
        ({"client": "2001:db8::5"}, 1),
        ({"client": "[fe80::1%eth0]"}, 2),
        ({"client": "192.0.2.200"}, None),
        ({"tag": "in"}, 3),
        ({"sender": "@"}, 4),
        ({"helo": "a.b.mx.test"}, 5),
        ({"recipient": "u@nowhere.test"}, None),
        ({"recipient": "u@dst.test."}, "cannot tell"),
        ({"recipient": '"a b"@dst.test'}, "cannot tell"),
        ({"sender": "nobody"}, "cannot tell"),
        ({"client": "999.1.1.1"}, "cannot tell"),
    ],
)
def test_an_envelope_in_pieces_comes_to_an_action(
    asker: InProcess, envelope: dict[str, str], action: int | str | None
) -> None:
    assert walk(asker, **envelope) == action


STEPS = [
    ("netaddr", "192.0.2.9"),
    ("regex", "joe"),
    ("string", "in"),
    ("domain", "x.mx.test"),
    ("mailaddr", "@"),
    ("mailaddr", "u@dst.test"),
    ("string", "in"),
]


@pytest.mark.parametrize("steps", range(len(STEPS) + 1))
def test_a_walk_that_was_given_up_lends_nothing_to_the_next(asker: InProcess, steps: int) -> None:
    for service, key in STEPS[:steps]:
        asker.ask("check", service, key)
    assert walk(asker) == LAST


def test_a_question_more_than_there_are_actions_is_answered_no(asker: InProcess) -> None:
    assert walk(asker) == LAST
    assert [asker.ask("check", "string", "") for _ in range(50)] == [False] * 50
    assert walk(asker) == LAST


def test_one_recipient_after_the_other_is_a_walk_of_its_own(asker: InProcess) -> None:
    """So is what an alias expands to: smtpd begins at the first line again."""
    for _ in range(3):
        assert walk(asker, user="joe") == 0
        assert walk(asker, recipient="u@nowhere.test") is None
        assert walk(asker, tag="in") == 3


ORDER = ["netaddr", "string", "domain", "mailaddr", "mailaddr"]


@pytest.mark.parametrize("at", range(1, len(ORDER)))
@pytest.mark.parametrize("service", ["", "regex", "string", "domain", "mailaddr", "relayhost"])
def test_what_comes_out_of_order_is_not_guessed_at(
    asker: InProcess, said: list[tuple[str, str]], at: int, service: str
) -> None:
    if service == ORDER[at] or (service, at) == ("regex", 1):
        return
    for each in ORDER[:at]:
        asker.ask("check", each, "@" if each == "mailaddr" else "")
    assert asker.ask("check", service, "u@dst.test") is None
    assert said[-1][0] == "strange question"
    for each in ORDER[1:]:  # and nothing of that envelope is, from then on
        assert asker.ask("check", each, "u@dst.test") is None
    assert walk(asker) == LAST


def test_an_action_that_this_smtpd_lacks_is_not_another_one(
    tmp_path: Path, said: list[tuple[str, str]]
) -> None:
    asking.write(tmp_path, asking.content(routing(ROUTING)))
    say = lambda cause, what: said.append((cause, what))  # noqa: E731
    lacking = InProcess(Walk(asking.reader(tmp_path), ["rm-mx"], say))
    assert walk(lacking) == "cannot tell"
    assert said == [("no such action", "smtpd was started without the action rm-map-a")]
    assert walk(lacking, recipient="u@nowhere.test") is None


def test_an_error_is_told_once_a_second_with_the_count_of_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the whole program: whatever is raised is "cannot tell", and the next answer is right."""
    time = [100.0]
    log = Log(lambda: time[0])
    for _ in range(4):
        log.say("one", "cause one")
    log.say("two", "cause two")
    time[0] += 1
    log.say("one", "cause one")
    log.say("two", "cause two")
    assert capfd.readouterr().err.splitlines() == [
        "table-relaymap: cause one",
        "table-relaymap: cause two",
        "table-relaymap: cause one (3 more of this)",
        "table-relaymap: cause two",
    ]


def test_a_program_without_a_file_cannot_tell_and_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asking.walk_file(tmp_path).parent.mkdir()
    asking.walk_file(tmp_path).write_text("rm-mx\n")
    tables = ["rm-walk", "rm-map-a", "rm-credentials"]
    with asking.program(tmp_path, tables) as (rules, relays, passwords):
        assert asking.walk(rules) == "cannot tell"
        assert relays.ask("lookup", "relayhost", "dst.test") is None
        assert passwords.ask("lookup", "credentials", "acct") is None
        asking.write(tmp_path, asking.content(routing(ROUTING)))
        assert relays.ask("lookup", "relayhost", "dst.test") == "smtp://192.0.2.1:25"
    assert capfd.readouterr().err.splitlines() == [
        "table-relaymap: there is no live file: No such file or directory"
    ]


def test_a_literal_is_hashed_in_the_spelling_that_the_server_hashes(tmp_path: Path) -> None:
    relays = [f"smtp://192.0.2.{n}" for n in range(1, 40)]
    table = routing(
        {
            "maps": {"a": {"policy": "hash", "hash_key": "recipient-domain", "relays": relays}},
            "rules": [],
        }
    )
    asking.write(tmp_path, asking.content(table))
    asked = Relays(asking.reader(tmp_path), "rm-map-a", Turns().draw)
    spellings = ["[ipv6:2001:db8::9]", "[IPv6:2001:DB8:0:0::9]", "[2001:db8::9]"]
    answers = {asked.answer(Question("lookup", "relayhost", key)) for key in spellings}
    assert len(answers) == 1
    assert None not in answers


def test_no_password_is_shown_by_its_holder() -> None:
    assert "secret" not in repr(Login("user", "secret"))
