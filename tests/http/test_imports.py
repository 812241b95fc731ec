"""Import of a list of relay URLs."""

import httpx
import pytest

from tests.http.samples import head, made, pointers, shop

pytestmark = pytest.mark.anyio

IMPORT = "/v1/relay-maps/mxmap/import"
TEXT = {"Content-Type": "text/plain"}


async def imported(api: httpx.AsyncClient, text: str, query: str = "") -> httpx.Response:
    return await api.post(IMPORT + query, content=text.encode(), headers=TEXT)


async def test_a_list_replaces_the_relays(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await imported(api, "# ours\n\nsmtps://mx7.example.net # spare\r\n  mx8.example.net\n")
    assert answer.status_code == 200
    assert [relay["url"] for relay in answer.json()["relays"]] == [
        "smtps://mx7.example.net",
        "mx8.example.net",
    ]
    assert answer.json()["policy"] == "ratio"


async def test_a_relay_that_means_the_same_stays_the_same(api: httpx.AsyncClient) -> None:
    await shop(api)
    await made(api, "relay-maps/mxmap/relays/mx1/state", {"state": "out"})
    answer = await imported(
        api, "smtps+auth://acct@mx1.example.net\ntls://acct@mx1.example.net:587"
    )
    first, second = answer.json()["relays"]
    assert (second["name"], second["weight"], second["state"]) == ("mx1", 3, "out")
    assert second["url"] == "tls://acct@mx1.example.net:587", "in its new spelling"
    assert (first["name"], first["state"]) == ("mx1.example.net-465", "active")


async def test_every_bad_line_is_named_and_none_is_taken(api: httpx.AsyncClient) -> None:
    await shop(api)
    before = await head(api)
    answer = await imported(api, "smtp://ok.example\nhttp://no.example\n\nsmtp://a b\n")
    assert [error["detail"][:7] for error in answer.json()["errors"]] == ["line 2:", "line 4:"]
    assert "no.example" not in answer.text
    assert await head(api) == before


async def test_relays_that_do_not_go_together_are_named_by_line(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await imported(api, "smtp://a.example\n\nsmtp://a.example:25\n")
    assert [error["code"] for error in answer.json()["errors"]] == [
        "duplicate-name",
        "duplicate-relay",
    ]
    assert answer.json()["errors"][0]["detail"].startswith("line 3:")
    answer = await imported(api, "smtp://[2001:db8::1]\n")
    assert answer.json()["errors"][0]["code"] == "name-needed"


@pytest.mark.parametrize("text", ["", "# nothing\n"])
async def test_an_empty_list_is_refused(api: httpx.AsyncClient, text: str) -> None:
    await shop(api)
    assert pointers(await imported(api, text)) == [("body", "", "bad-size")]


async def test_a_list_may_be_json_for_generated_clients(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.post(IMPORT, json={"urls": ["smtps://mx2.example.net", "smtp://a.example"]})
    assert [relay["name"] for relay in answer.json()["relays"]] == ["mx2", "a.example"]
    answer = await api.post(
        IMPORT, json={"urls": ["smtp://a b", "mx2.example", "smtp://mx2.example"]}
    )
    assert pointers(answer) == [("body", "/urls/0", "bad-relay-url")]
    answer = await api.post(IMPORT, json={"urls": ["mx2.example", "smtp://mx2.example:25"]})
    assert pointers(answer) == [
        ("body", "/urls/1", "duplicate-name"),
        ("body", "/urls/1", "duplicate-relay"),
    ]
    assert pointers(await api.post(IMPORT, json={})) == [("body", "/urls", "missing")]


async def test_only_text_in_utf_8_and_json_are_taken(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.post(IMPORT, content=b"<x/>", headers={"Content-Type": "text/xml"})
    assert (answer.status_code, answer.headers["Accept"]) == (
        415,
        "application/json, text/plain",
    )
    assert (await api.post(IMPORT, content=b"\xff", headers=TEXT)).status_code == 400


async def test_a_map_that_is_not_there_is_404(api: httpx.AsyncClient) -> None:
    assert (await imported(api, "smtp://a.example")).status_code == 404


async def test_a_dry_run_imports_nothing(api: httpx.AsyncClient) -> None:
    await shop(api)
    before = await head(api)
    answer = await imported(api, "smtp://a.example", "?dry_run=true")
    assert [relay["name"] for relay in answer.json()["relays"]] == ["a.example"]
    assert await head(api) == before


async def test_what_the_routing_says_of_a_relay_is_said_of_its_line(api: httpx.AsyncClient) -> None:
    await shop(api)
    bad = ["smtps://mx7.example.net", "tls://acct@evil.example"]
    answer = await imported(api, f"# ours\n{bad[0]}\n{bad[1]}\n")
    assert pointers(answer) == [("body", "", "credential-not-for-host")]
    assert answer.json()["errors"][0]["detail"].startswith("line 3: ")
    answer = await api.post(IMPORT, json={"urls": bad})
    assert pointers(answer) == [("body", "/urls/1", "credential-not-for-host")]


async def test_more_lines_than_a_map_holds_are_not_even_read(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await imported(api, "not a relay url\n" * 1001)
    assert pointers(answer) == [("body", "", "bad-size")]
