"""An ordinary address is read by a shorter way, to the same end."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routing import envelope, names
from app.routing.addresses import ordinary_addresses
from app.routing.envelope import NULL, MailAddress, Undeliverable, parse_mail_address
from app.routing.names import finder, keys_of, keys_of_domain

_NEVER = re.compile(r"(?!)")
_PIECES = st.sampled_from(
    [*"aZ09._-+=", "@", "@", "..", ".@", "@-", "@.", "ä", "\n", " ", '"', "/", "x" * 63, "y" * 64]
)
_NEARLY = st.lists(_PIECES, max_size=12).map("".join)
_ADDRESSES = st.from_regex(r"[A-Za-z0-9._+=-]{1,66}@[A-Za-z0-9_.-]{1,66}", fullmatch=True)


def outcome(text: str) -> tuple[MailAddress, str] | str:
    try:
        found = parse_mail_address(text)
    except Undeliverable as refused:
        return str(refused)
    return found, found.spelling


@given(_ADDRESSES | _NEARLY)
def test_the_short_way_and_the_long_one_read_the_same(text: str) -> None:
    short = outcome(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelope, "_ORDINARY", _NEVER)
        assert outcome(text) == short


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Joe@A.b.C", ("joe@a.b.c", "a.b.c", "*.b.c", "*.c")),
        ("joe@[192.0.2.1]", ("joe@[192.0.2.1]",)),
        ("", ("<>",)),
    ],
)
def test_an_address_knows_its_keys(text: str, keys: tuple[str, ...]) -> None:
    found = parse_mail_address(text)
    assert found.keys == keys == keys_of(str(found) or "<>")
    assert (found is NULL) == (text == "")


def test_the_keys_of_more_domains_than_are_remembered_are_known_all_the_same() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "_MOST_KNOWN", 2)
        patch.setattr(names, "_known", {})
        for _ in range(2):
            for n in range(5):
                assert keys_of(f"a.d{n}.test") == (f"a.d{n}.test", f"*.d{n}.test", "*.test")
                assert len(names._known) <= 2


def test_a_hit_of_the_short_way_is_what_most_addresses_are() -> None:
    assert envelope._ORDINARY.fullmatch("Joe.Doe+x_y@mx-1.Example.org")
    for text in ("a@-b.test", ".a@b.test", "a@b.test\n", "a/b@b.test", "a@[192.0.2.1]"):
        assert not envelope._ORDINARY.fullmatch(text)


_MOSTLY = st.sampled_from(["", "Joe@A.b.test", "ann.x@b.test", "a@" + "c" * 63]) | _ADDRESSES


@given(st.lists(_MOSTLY) | st.lists(_MOSTLY | _NEARLY))
def test_many_ordinary_addresses_are_read_as_each_of_them(texts: list[str]) -> None:
    together = ordinary_addresses(texts)
    if together is None:
        assert not all(map(is_ordinary, texts))
        return
    folded = together.folded()
    assert len(together) == len(folded) == len(texts)
    for number, text in enumerate(texts):
        alone = parse_mail_address(text)
        assert (folded[number], together.domains[number]) == (str(alone), alone.domain)
        assert together.spelling(number) == alone.spelling


def is_ordinary(text: str) -> bool:
    plain = envelope._ORDINARY.fullmatch(text) and text[-1] != "."
    return not text or bool(plain and ".." not in text and ".@" not in text)


@pytest.mark.parametrize("text", ["a@b.test\n", "a@b.test\nbad", "\n", "a@b.test.", "a@b..test"])
def test_one_that_is_not_ordinary_leaves_all_to_the_long_way(text: str) -> None:
    assert ordinary_addresses(["x@y.test", text]) is None


_DOMAINS = st.lists(st.sampled_from(["a", "b", "test"]), min_size=1, max_size=5).map(".".join)
_PATTERNS = st.lists(_DOMAINS | _DOMAINS.map(lambda domain: f"*.{domain}"), max_size=8)


@given(_PATTERNS, _DOMAINS)
def test_a_finder_finds_what_the_keys_of_a_domain_find(patterns: list[str], domain: str) -> None:
    rows = {pattern: pattern for pattern in patterns}
    found: list[str] = []
    finder(rows, str)(domain, found)
    assert found == [key for key in keys_of_domain(domain) if key in rows]


@pytest.mark.parametrize("text", ["", "[192.0.2.1]", "[ipv6:2001:db8::1]", "test"])
def test_a_finder_finds_nothing_for_what_has_no_such_domain(text: str) -> None:
    found: list[str] = []
    finder({"*.test": "x", "a.test": "y"}, str)(text, found)
    assert found == []
