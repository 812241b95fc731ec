"""Relay URLs mean what the table of vectors says, and keep their spelling."""

import pytest
from hypothesis import given

from app.routing.errors import Refused
from app.routing.relay_url import RelayURL, parse_relay_url
from tests.unit.routing import strategies
from tests.vectors.rows import Row, ids, rows

ROWS = rows("relay_urls")
TAKEN = [row for row in ROWS if not row["refused"]]
REFUSED = [row for row in ROWS if row["refused"]]


@pytest.mark.parametrize("row", TAKEN, ids=ids(TAKEN))
def test_a_relay_url_means_what_its_row_says(row: Row) -> None:
    url = parse_relay_url(row["url"])
    meaning = (url.protocol.value, url.tls.value, url.host, str(url.effective_port))
    assert meaning == (row["protocol"], row["tls"], row["host"], row["port"])
    assert (url.credential or "") == row["credential"]
    assert str(url) == (row["spelling"] or row["url"])


@pytest.mark.parametrize("row", REFUSED, ids=ids(REFUSED))
def test_what_is_no_relay_url_is_refused_for_its_reason(row: Row) -> None:
    with pytest.raises(Refused) as refused:
        parse_relay_url(row["url"])
    assert refused.value.code == row["refused"]
    assert refused.value.fault.code == row["refused"]


@pytest.mark.parametrize("row", [r for r in REFUSED if len(r["url"]) > 9], ids=lambda r: r["url"])
def test_no_refusal_repeats_what_was_sent_or_prints_an_expression(row: Row) -> None:
    with pytest.raises(Refused) as refused:
        parse_relay_url(row["url"])
    detail = refused.value.fault.detail
    assert row["url"] not in detail
    assert not any(sign in detail for sign in ("[a-z", "(?", "]{", "\\"))


@given(strategies.relay_urls)
def test_the_canonical_spelling_parses_to_the_same_meaning_and_spelling(url: RelayURL) -> None:
    again = parse_relay_url(str(url))
    assert again == url
    assert str(again) == str(url)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("smtp://mx.example", "mx.example"),
        ("smtp://mx.example", "SMTP://mx.example:25"),
        ("tls://mx.example", "smtp+tls://mx.example:25"),
        ("ssl://mx.example", "secure://mx.example:465"),
        ("tls+auth://mx.example", "tls://mx.example@mx.example"),
        ("smtp://[192.0.2.1]", "smtp://192.0.2.1"),
        ("smtp://bücher.example", "smtp://xn--bcher-kva.example"),
    ],
)
def test_two_urls_are_equal_when_they_mean_the_same(one: str, other: str) -> None:
    assert parse_relay_url(one) == parse_relay_url(other)
    assert hash(parse_relay_url(one)) == hash(parse_relay_url(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("smtp://mx.example", "tls://mx.example"),
        ("smtp://mx.example", "smtp+notls://mx.example"),
        ("smtp://mx.example", "smtp://mx.example:26"),
        ("tls://a@mx.example", "tls://b@mx.example"),
        ("tls://mx.example", "tls+auth://mx.example"),
        ("smtp+notls://mx.example:24", "lmtp://mx.example:24"),
    ],
)
def test_two_urls_differ_when_they_mean_something_else(one: str, other: str) -> None:
    assert parse_relay_url(one) != parse_relay_url(other)


def test_what_urls_have_alike_is_kept_once() -> None:
    """A million of them differ in their hosts."""
    one, other = (parse_relay_url(f"TLS://Acct@{host}.example:2525") for host in "ab")
    assert one.schema is other.schema
    assert one.label is one.credential is other.label is other.credential
    assert one.port is one.effective_port is other.port is other.effective_port
