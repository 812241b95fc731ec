"""Which forms of addresses and HELO names smtpd takes, and that `resolve` takes the same."""

from collections.abc import Iterator

import pytest

from app.routing.envelope import parse_helo, parse_mail_address
from app.routing.errors import Refused
from tests.mta.agents.machine import PORT, A, Machine
from tests.mta.agents.wanting import rule, wanted
from tests.mta.bed.injector import Submission
from tests.mta.bed.namespace import Namespace

LONG = "a" * 63
DOMAINS = [
    "example.test",
    "EXAMPLE.Test",
    "a_b.test",
    "ab-.test",
    "a.-b.test",
    "a.b-",
    "-ab.test",
    "a..test",
    ".test",
    "a.test.",
    f"{LONG}.test",
    "b\u00fccher.test",
    "a,b.test",
    "[192.0.2.1]",
    "[2001:db8::1]",
    "[IPv6:2001:db8::1]",
    "[ipv6:::1]",
    "[IPv6:192.0.2.1]",
    "[192.0.2]",
    "[192.0.2.1",
    "[x]",
]
LOCALS = [
    "joe",
    "Joe",
    "joe+tag",
    "!#$%&'*+/=?^_`{|}~-",
    "a.b",
    ".a",
    "a.",
    "a..b",
    "jo e",
    "j\u00f6",
    "a" * 64,
    "a" * 65,
    "a" * 200,
]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        machine = Machine.open(namespace, A).fresh()
        machine.do("first")
        assert machine.ended(wanted(1, [rule(1, A.url())])) == ("applied", "restart")
        yield machine


def is_taken(machine: Machine, **of: str) -> bool:
    usual = {"sender": "s@sender.test", "recipient": "r@recipient.test", "helo": "client.test"}
    submission = Submission("form", port=PORT, client="127.0.0.1", **(usual | of))
    (reply,) = machine.injector.send([submission])
    return reply.accepted


def is_an_address(text: str) -> bool:
    try:
        return bool(parse_mail_address(text).domain)
    except Refused:
        return False


@pytest.mark.parametrize("text", [f"joe@{domain}" for domain in DOMAINS], ids=ascii)
def test_the_domain_of_an_address(machine: Machine, text: str):
    assert is_taken(machine, sender=text) == is_taken(machine, recipient=text)
    assert is_an_address(text) == is_taken(machine, recipient=text)


@pytest.mark.parametrize("text", [f"{local}@a.test" for local in LOCALS], ids=ascii)
def test_the_local_part_of_an_address(machine: Machine, text: str):
    assert is_taken(machine, sender=text) == is_taken(machine, recipient=text)
    assert is_an_address(text) == is_taken(machine, recipient=text)


@pytest.mark.parametrize("text", DOMAINS, ids=ascii)
def test_a_helo(machine: Machine, text: str):
    try:
        known = bool(parse_helo(text))
    except Refused:
        known = False
    assert known == is_taken(machine, helo=text)
