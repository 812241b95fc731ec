"""What is rendered passes the daemon's own check, and odd texts come through it unharmed."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from app.render.generation import Generation, Secret, Target
from app.render.opensmtpd.render import render
from app.routing.credential import parse_password, parse_username
from app.routing.document import Document
from app.routing.model import read_model
from app.routing.routing_table import RoutingTable
from app.routing.rule import parse_reject_message
from tests.golden.cases import Case, cases
from tests.mta.bed.certificates import Authority
from tests.mta.bed.dns import Dns
from tests.mta.bed.injector import Injector, Submission
from tests.mta.bed.namespace import WORKSPACE, Namespace
from tests.mta.bed.sinks import Sink, Sinks
from tests.mta.bed.smtpd import Settings, Smtpd
from tests.unit.render.routings import NEW_TARGET, SECRETS, TARGET, routing_table

STATE_DIR = f"{WORKSPACE}/agent"
CONF = f"{STATE_DIR}/live/relaymap.conf"
HERE = Target((6, 8), STATE_DIR, certificates=("listener",), cas=("bed",))
RANDOM_TABLES = 25


@pytest.fixture(scope="module")
def checker() -> Iterator[Smtpd]:
    with Namespace.open() as namespace:
        yield Smtpd(namespace)


def install(smtpd: Smtpd, generation: Generation) -> None:
    """Put the files where their tables look for them."""
    live = smtpd.namespace.outside(f"{STATE_DIR}/live")
    live.mkdir(parents=True, exist_ok=True)
    for path in live.iterdir():
        path.unlink()
    for file in generation.files:
        text = file.content.decode()
        smtpd.write(f"{STATE_DIR}/live/{file.name}", text, mode=file.mode, group="opensmtpd")


def complaint(smtpd: Smtpd, generation: Generation) -> str:
    """What `smtpd -n` says against an operator's file that includes ours."""
    install(smtpd, generation)
    smtpd.configure(Settings(include=CONF))
    return smtpd.check()


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_the_daemon_takes_every_case(checker: Smtpd, case: Case) -> None:
    # An older daemon is not asked for what only a newer one may be given, but reads its grammar.
    moved = replace(case, target=replace(case.target, state_dir=STATE_DIR))
    assert complaint(checker, moved.render()) == ""


def test_the_daemon_takes_random_routings(checker: Smtpd) -> None:
    for seed in range(RANDOM_TABLES):
        for target in (TARGET, NEW_TARGET):
            table = routing_table(seed)
            generation = render(table, SECRETS, replace(target, state_dir=STATE_DIR))
            assert complaint(checker, generation) == "", f"seed {seed}"


def test_the_check_means_something(checker: Smtpd) -> None:
    generation = render(routing_table(1), SECRETS, replace(TARGET, state_dir=STATE_DIR))
    lists = [file for file in generation.files if file.name not in {"relaymap.conf", "credentials"}]
    kept = tuple(file for file in generation.files if file is not lists[0])
    assert complaint(checker, Generation(kept)) != ""


def routing(*rules: Document, **parts: object) -> RoutingTable:
    named = [{"id": f"r{n}", "name": f"rule-{n}", **rule} for n, rule in enumerate(rules, 1)]
    empty: Document = {"relay_maps": [], "out": [], "tables": [], "credentials": []}
    return read_model({**empty, **parts, "rules": named}, 1)


def serve(smtpd: Smtpd, table: RoutingTable, secrets: Mapping[str, Secret], *declared: str) -> None:
    install(smtpd, render(table, secrets, HERE))
    smtpd.configure(Settings(declarations=declared, include=CONF))
    smtpd.start()


MESSAGES = (
    "Refused by routing rule",
    "Not through here, please, and not there",
    "It's gone; so's \"nothing\"".replace('"', "'"),
    "'",
    "half a quote ' here",
    "comma, 'quoted, comma', end,",
    ":include:/etc/passwd",
    "|/bin/id",
    "error:250 fine",
    "%{user.username} $name {a} <b> # c",
    "~!@#$%^&*()_+`-=[]{}|;:',./<>?",
    "".join(chr(code) for code in range(33, 127) if chr(code) not in '"\\'),
    "x" * 200,
)


def test_a_client_sees_the_message_of_a_rejection_as_it_was_written(
    smtpd: Smtpd, injector: Injector, dns: Dns
) -> None:
    rules: list[Document] = [
        {
            "match": {"clients": ["any"], "recipients": [f"d{n}.test"]},
            "action": {"kind": "reject", "message": parse_reject_message(message)},
        }
        for n, message in enumerate(MESSAGES)
    ]
    serve(smtpd, routing(*rules), {})
    recipients = [f"u@d{n}.test" for n in range(len(MESSAGES))]
    replies = injector.send(
        Submission(str(n), "a@src.test", recipient, 27301) for n, recipient in enumerate(recipients)
    )
    assert [(reply.code, reply.text) for reply in replies] == [
        (550, f"5.7.1 {message}: <{recipient}>")
        for message, recipient in zip(MESSAGES, recipients, strict=True)
    ]


LOGINS = (
    ("user", "password"),
    ("user with blanks", "a: b:c  d"),
    ("#user", "#hash"),
    ('"user"', 'quo"ted\\'),
    ("üser@example.org", "pässwörd €"),
    ("x" * 255, "y" * 255),
    ("<user>", "!$%{x}[]'`|"),
)


def test_a_relay_gets_username_and_password_as_they_were_stored(
    smtpd: Smtpd, sinks: Sinks, injector: Injector, dns: Dns
) -> None:
    authority = Authority.create()
    smtpd.write(f"{WORKSPACE}/ca.pem", authority.pem())
    addresses = [f"127.0.1.{50 + n}" for n in range(len(LOGINS))]
    certificate = f"{WORKSPACE}/sinks.pem"
    smtpd.write(certificate, "".join(authority.issue(*addresses)))
    rules: list[Document] = []
    credentials: list[Document] = []
    secrets: dict[str, Secret] = {}
    for n, ((username, password), address) in enumerate(zip(LOGINS, addresses, strict=True)):
        login = {parse_username(username): parse_password(password)}
        sink = Sink(f"s{n}", address, tls="smtps", certificate=certificate, logins=login)
        sinks.add(sink)
        via = sink.url("smtps", f"lab{n}")
        rules.append(
            {
                "match": {"recipients": [f"d{n}.test"]},
                "action": {"kind": "relay", "via": via, "ca": "bed"},
            }
        )
        credentials.append({"label": f"lab{n}", "revision": 1, "hosts": [address]})
        secrets[f"lab{n}"] = Secret(f"lab{n}", 1, username, password)
    table = routing(*rules, credentials=credentials)
    serve(smtpd, table, secrets, f'ca "bed" cert "{WORKSPACE}/ca.pem"')
    smtpd.hold()
    injector.send(
        Submission(f"p{n}", "a@src.test", f"u@d{n}.test", 27301) for n in range(len(LOGINS))
    )
    smtpd.release()
    taken = {delivery.sink: delivery.probe for delivery in sinks.wait_for(len(LOGINS))}
    assert taken == {f"s{n}": f"p{n}" for n in range(len(LOGINS))}
