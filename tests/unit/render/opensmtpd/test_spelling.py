"""What the parsers take can always be written, and is read back as it was."""

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.render.opensmtpd import spelling
from app.render.opensmtpd.delivery import read_relay
from app.render.opensmtpd.regexes import KeyKind, read_regex, write_regex
from app.render.opensmtpd.spelling import Unwritable
from app.render.opensmtpd.tails import Piece, Tail, TailSet, helo_tail, mail_tail, user_tail
from app.routing.conditions import parse_tag
from app.routing.credential import parse_password, parse_username
from app.routing.errors import Refused
from app.routing.names import parse_domain, parse_label, parse_local_part, parse_name, parse_user
from app.routing.patterns import parse_domain_pattern, parse_sender_pattern
from app.routing.relay_url import parse_relay_url
from app.routing.rule import parse_mail_from, parse_pki_name, parse_reject_message

FIELDS: dict[str, tuple[str, Callable[[str], str], Callable[[str], str]]] = {
    "map": (r"[a-z][a-z0-9-]{0,5}", parse_name, spelling.map_name),
    "domain": (r"[A-Za-z0-9_.-]{1,9}", parse_domain, spelling.domain),
    "IDN": (r"[äöüß漢字a-z]{1,5}\.test", parse_domain, spelling.domain),
    "local part": (r"[!-~]{1,6}", lambda t: parse_local_part(t).lower(), spelling.local_part),
    "user": (r"[!-~]{1,6}", parse_user, spelling.user),
    "tag": (r"[A-Za-z0-9_.-]{1,6}", parse_tag, spelling.tag),
    "pki": (r"[A-Za-z0-9_.-]{1,6}", parse_pki_name, spelling.pki_name),
    "mail_from": (
        r"[A-Za-z0-9._+=-]{0,5}@[a-z]{1,3}\.test",
        lambda t: str(parse_mail_from(t)),
        spelling.mail_from,
    ),
    "message": (r"[ -~]{1,12}", parse_reject_message, spelling.reject_message),
}


@pytest.mark.parametrize("field", FIELDS)
@given(data=st.data())
def test_what_a_parser_takes_can_be_written(field: str, data: st.DataObject) -> None:
    shape, parse, write = FIELDS[field]
    text = data.draw(st.from_regex(shape, fullmatch=True))
    try:
        canonical = parse(text)
    except Refused:
        with pytest.raises(Unwritable):
            write(text)
        return
    assert "\n" not in write(canonical)


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_a_username_and_a_password_are_on_one_line_of_three_parts(user: str, word: str) -> None:
    try:
        parse_username(user)
        parse_password(word)
    except Refused:
        with pytest.raises(Unwritable):
            spelling.credentials_line("lab", user, word)
        return
    line = spelling.credentials_line("lab", user, word)
    assert line.split("\t", 1) == ["lab", f"{user}:{word}"]
    assert line.splitlines() == [line]


SCHEMAS = ("", "smtp://", "tls://", "smtp+tls://", "smtps://", "ssl://", "smtp+notls://", "lmtp://")
HOSTS = ("a.test", "A.Test", "192.0.2.1", "[192.0.2.1]", "[2001:DB8::1]", "[IPv6:::1]", "a_b.test")


@given(
    st.sampled_from(SCHEMAS),
    st.sampled_from(("", "lab@", "LAB.x@")),
    st.sampled_from(HOSTS),
    st.sampled_from(("", ":25", ":2525", ":65535")),
)
def test_a_relay_url_is_written_with_its_port_and_read_as_the_same_relay(
    schema: str, label: str, host: str, port: str
) -> None:
    try:
        url = parse_relay_url(schema + label + host + port)
    except Refused:
        assume(False)  # noqa: FBT003  hypothesis has it so
    written = spelling.relay_url(url)
    assert read_relay(written) == url
    assert written == written.lower()
    assert written.endswith(f":{url.effective_port}")


def test_old_schemas_are_written_as_the_daemon_reads_them_today() -> None:
    old = ("tls://a.test", "ssl://a.test", "secure://a.test", "tls+auth://a.test", "a.test")
    assert [spelling.relay_url(parse_relay_url(text)) for text in old] == [
        "smtp+tls://a.test:25",
        "smtps://a.test:465",
        "smtps://a.test:465",
        "smtp+tls://a.test@a.test:25",
        "smtp://a.test:25",
    ]


PATTERNS: dict[KeyKind, tuple[str, Callable[[str], Tail]]] = {
    KeyKind.MAIL: (
        r"([a-z0-9.!#$&'*+=?^_{|}~-]{1,4}@)?(\*\.)?[a-z]{1,2}\.test|<>",
        lambda text: mail_tail(parse_sender_pattern(text)),
    ),
    KeyKind.HELO: (
        r"(\*\.)?[a-z_]{1,3}(\.[a-z]{1,2})?",
        lambda text: helo_tail(parse_domain_pattern(text)),
    ),
    KeyKind.USER: (r"\*|[a-z0-9.!#$&'+=?^_{|}~@-]{1,5}", lambda text: user_tail(parse_user(text))),
}


@pytest.mark.parametrize("kind", PATTERNS, ids=lambda kind: kind.value)
@given(data=st.data())
def test_the_line_of_a_pattern_reads_back_as_its_piece(kind: KeyKind, data: st.DataObject) -> None:
    shape, tail_of = PATTERNS[kind]
    text = data.draw(st.from_regex(shape, fullmatch=True))
    try:
        tail = user_tail("*") if text == "*" else tail_of(text)
    except Refused:
        return
    (piece,) = TailSet([tail]).pieces()
    assert read_regex(write_regex(piece, kind), kind) == piece


@given(st.text("ab.@-^]$[", max_size=4), st.sampled_from(["^", ".", "[^a]", "[^]a[-]", "[^.@]"]))
def test_every_piece_of_a_difference_reads_back(text: str, lead: str) -> None:
    piece = Piece(text, lead)
    assert read_regex(write_regex(piece, KeyKind.MAIL), KeyKind.MAIL) == piece


def test_a_label_is_written_lower_case_since_the_daemon_folds_it() -> None:
    assert spelling.relay_url(parse_relay_url("smtps://LAB@a.test")) == "smtps://lab@a.test:465"
    assert parse_label("LAB") == "lab"
