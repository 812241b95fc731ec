"""Differences and intersections of patterns, against a plain reading of every pattern."""

from collections.abc import Callable
from random import Random

import pytest

from app.render.opensmtpd.regexes import KeyKind, write_regex
from app.render.opensmtpd.spelling import MAX_LINE, Unwritable
from app.render.opensmtpd.tails import (
    EVERY_USER,
    Piece,
    Tail,
    TailSet,
    helo_tail,
    is_helo_key,
    is_mail_key,
    mail_tail,
    user_tail,
)
from app.routing.patterns import (
    AddressPattern,
    DomainPattern,
    NullPattern,
    parse_domain_pattern,
    parse_sender_pattern,
)
from tests.unit.render.plain_smtpd import matches

SEED = 20261122
CHECKS = 50_000
LETTERS = "ab.-]^["
LABELS = ("a", "b", "ab", "ba", "test")


def holds(tails: list[Tail], key: str) -> bool:
    """The plain evaluator: no set, no tree."""
    return any(
        key == tail.text if tail.whole else key.endswith(tail.text) and key != tail.text
        for tail in tails
    )


def lines_of(pieces: list[Piece], kind: KeyKind) -> list[str]:
    return [write_regex(piece, kind) for piece in pieces]


def some_domain(random: Random) -> str:
    return ".".join(random.choices(LABELS, k=random.randint(1, 3)))


def some_local(random: Random) -> str:
    return "".join(random.choices("ab+{$", k=random.randint(1, 3)))


def mail_tails(random: Random) -> list[Tail]:
    found = []
    for _ in range(random.randint(0, 5)):
        shape = random.random()
        if shape < 0.4:
            found.append(mail_tail(AddressPattern(some_local(random), some_domain(random))))
        elif shape < 0.9:
            found.append(mail_tail(DomainPattern(some_domain(random), below=shape < 0.7)))
        else:
            found.append(mail_tail(NullPattern()))
    return found


def mail_key(random: Random) -> str:
    return random.choice(["@", *[f"{some_local(random)}@{some_domain(random)}"] * 9])


def user_tails(random: Random) -> list[Tail]:
    # Brackets are in no name that we take; their shape is tried all the same.
    names = ["".join(random.choices("ab]^[-", k=random.randint(1, 3))) for _ in range(4)]
    tails = [EVERY_USER, *(Tail(name, whole=True) for name in names)]
    return random.sample(tails, k=random.randint(0, 4))


def user_key(random: Random) -> str:
    return "".join(random.choices("ab]^[-x", k=random.randint(1, 4)))


def helo_tails(random: Random) -> list[Tail]:
    return [
        helo_tail(DomainPattern(some_domain(random), below=random.random() < 0.5))
        for _ in range(random.randint(0, 5))
    ]


KINDS: dict[
    KeyKind,
    tuple[Callable[[Random], list[Tail]], Callable[[Random], str], Callable[[str], bool]],
] = {
    KeyKind.MAIL: (mail_tails, mail_key, is_mail_key),
    KeyKind.USER: (user_tails, user_key, bool),
    KeyKind.HELO: (helo_tails, some_domain, is_helo_key),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
def test_a_difference_holds_for_the_keys_of_one_side_that_are_not_of_the_other(
    kind: KeyKind,
) -> None:
    random = Random(SEED)
    tails, key, is_key = KINDS[kind]
    checked = held = 0
    while checked < CHECKS:
        wanted, unwanted = tails(random), tails(random)
        lines = lines_of(TailSet(wanted).less(TailSet(unwanted), is_key), kind)
        for _ in range(20):
            asked = key(random)
            expected = holds(wanted, asked) and not holds(unwanted, asked)
            assert any(matches(line, asked) for line in lines) == expected, (
                f"seed {SEED}: {wanted} less {unwanted} for {asked!r}"
            )
            checked += 1
            held += expected
    assert held > CHECKS / 20, "too few keys are held for the test to mean much"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
def test_an_intersection_holds_for_the_keys_of_both_sides(kind: KeyKind) -> None:
    random = Random(SEED)
    tails, key, _ = KINDS[kind]
    for _ in range(CHECKS // 20):
        one, two = tails(random), tails(random)
        both = list(TailSet(one).meet(TailSet(two)).tails)
        for _ in range(20):
            asked = key(random)
            assert holds(both, asked) == (holds(one, asked) and holds(two, asked)), (
                f"seed {SEED}: {one} and {two} for {asked!r}"
            )


def test_the_difference_of_a_domain_and_an_address_is_a_walk_of_the_address_backwards() -> None:
    wanted = TailSet([mail_tail(parse_sender_pattern("example.test"))])
    unwanted = TailSet([mail_tail(parse_sender_pattern("bulk@example.test"))])
    lines = lines_of(wanted.less(unwanted, is_mail_key), KeyKind.MAIL)
    assert sorted(lines) == [
        r".bulk@example\.test$",
        r"[^b]ulk@example\.test$",
        r"[^k]@example\.test$",
        r"[^l]k@example\.test$",
        r"[^u]lk@example\.test$",
        r"^k@example\.test$",
        r"^lk@example\.test$",
        r"^ulk@example\.test$",
    ]


def test_a_difference_has_at_most_twice_as_many_lines_as_negated_characters() -> None:
    random = Random(SEED)
    for _ in range(500):
        wanted, unwanted = TailSet([mail_tail(DomainPattern("test"))]), mail_tails(random)
        pieces = wanted.less(TailSet(unwanted), is_mail_key)
        assert len(pieces) <= 1 + 2 * sum(len(tail.text) for tail in unwanted)


@pytest.mark.parametrize(
    ("piece", "kind", "line"),
    [
        (mail_tail(parse_sender_pattern("joe@ex.test")), KeyKind.MAIL, r"^joe@ex\.test$"),
        (mail_tail(parse_sender_pattern("ex.test")), KeyKind.MAIL, r"@ex\.test$"),
        (mail_tail(parse_sender_pattern("*.ex.test")), KeyKind.MAIL, r"@.+\.ex\.test$"),
        (mail_tail(parse_sender_pattern("<>")), KeyKind.MAIL, r"^@$"),
        (
            mail_tail(parse_sender_pattern("a.b+c{1}@x.test")),
            KeyKind.MAIL,
            r"^a\.b\+c\{1\}@x\.test$",
        ),
        (helo_tail(parse_domain_pattern("mx.test")), KeyKind.HELO, r"^mx\.test$"),
        (helo_tail(parse_domain_pattern("*.mx.test")), KeyKind.HELO, r"^.+\.mx\.test$"),
        (user_tail("alice"), KeyKind.USER, r"^alice$"),
        (user_tail("a{b}^"), KeyKind.USER, r"^a\{b\}\^$"),
        (EVERY_USER, KeyKind.USER, "."),
    ],
    ids=str,
)
def test_each_pattern_has_one_shape(piece: Tail, kind: KeyKind, line: str) -> None:
    assert lines_of(TailSet([piece]).pieces(), kind) == [line]


def test_brackets_keep_their_own_characters_out_of_trouble() -> None:
    users = [Tail(user, whole=True) for user in ("]", "[", "-", "^", "a")]
    (piece, *_) = TailSet([EVERY_USER]).less(TailSet(users), bool)
    assert piece.lead == "[^]^a[-]"


def test_a_line_that_smtpd_would_drop_in_silence_is_never_written() -> None:
    whole = write_regex(Piece("a" * (MAX_LINE - 2), "^"), KeyKind.USER)
    assert len(whole) == MAX_LINE
    with pytest.raises(Unwritable):
        write_regex(Piece("a" * (MAX_LINE - 1), "^"), KeyKind.USER)
