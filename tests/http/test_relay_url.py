"""What a relay URL means, over HTTP."""

import httpx
import pytest

from tests.http.samples import pointers

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("url", "meaning"),
    [
        ("MX.Example", ("mx.example", "opportunistic", "mx.example", 25, None)),
        (
            "TLS+AUTH://mx.example",
            ("tls+auth://mx.example", "starttls", "mx.example", 25, "mx.example"),
        ),
        (
            "ssl://acct@[192.0.2.1]:25",
            ("ssl://acct@192.0.2.1:25", "smtps", "192.0.2.1", 25, "acct"),
        ),
        (
            "lmtp://[IPv6:2001:DB8:0::1]:24",
            ("lmtp://[2001:db8::1]:24", "plain", "[2001:db8::1]", 24, None),
        ),
        (
            "smtp://b\u00fccher.example",
            ("smtp://xn--bcher-kva.example", "opportunistic", "xn--bcher-kva.example", 25, None),
        ),
    ],
)
async def test_a_url_is_answered_in_canonical_spelling_with_its_meaning(
    api: httpx.AsyncClient, url: str, meaning: tuple[object, ...]
) -> None:
    answer = (await api.get("/v1/relay-url", params={"url": url})).json()
    members = ("url", "tls", "host", "port", "credential")
    assert tuple(answer[name] for name in members) == meaning
    again = (await api.get("/v1/relay-url", params={"url": answer["url"]})).json()
    assert again == answer, "canonical spellings are stable"


async def test_what_is_none_is_refused_with_what_is_wrong(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/relay-url", params={"url": "smtp://user:hunter2@mx.example"})
    assert pointers(answer) == [("query", "/url", "password-in-url")]
    assert "hunter2" not in answer.text
    assert pointers(await api.get("/v1/relay-url")) == [("query", "/url", "missing")]
