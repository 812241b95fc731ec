"""Import of the entries of a table from a file: forms, reports, refusals, and what is stored."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.server.api import gathering, import_jobs, uploads
from tests.http.samples import TABLE, bearer, head, made, pointers, shop

pytestmark = pytest.mark.anyio

PATH = "/v1/tables/by-domain"
FORMS = {
    "application/x-ndjson": '{"key":"a.example","via":"mx"}\r\n\n{ "via": "map:mxmap", "key": "B.example" }',
    "text/csv": '\ufeffkey,via\r\na.example,mx\r\n"B.example","map:mxmap"\r\n',
    "text/plain": "# ours\na.example\tmx # here\r\n\n  B.example map:mxmap\n",
    "application/json": '{"entries": [{"key": "a.example", "via": "mx"},\n {"via": "map:mxmap", "key": "B.example", "revision": 3}]}',
}


@pytest.fixture
async def shop_api(api: httpx.AsyncClient) -> httpx.AsyncClient:
    await shop(api)
    await made(api, "tables/by-domain", TABLE)
    return api


async def send(
    api: httpx.AsyncClient,
    content: str | bytes | AsyncIterator[bytes],
    query: str = "",
    form: str = "application/x-ndjson",
    **headers: str,
) -> httpx.Response:
    if isinstance(content, str):
        content = content.encode()
    return await api.post(
        f"{PATH}/import{query}",
        content=content,
        headers={"Content-Type": form} | {k.replace("_", "-"): v for k, v in headers.items()},
    )


async def entries(api: httpx.AsyncClient) -> dict[str, str]:
    listed = (await api.get(f"{PATH}/entries?limit=1000")).json()["items"]
    return {each["key"]: each["via"] for each in listed}


async def ended(api: httpx.AsyncClient, place: str) -> Any:
    """An import that nobody waits for, once it has ended."""
    for _ in range(3000):
        told = (await api.get(place)).json()
        if told["state"] != "running":
            return told
        await asyncio.sleep(0.01)
    raise AssertionError("it does not end")


def line(key: str, via: str = "mx") -> str:
    return json.dumps({"key": key, "via": via}) + "\n"


@pytest.mark.parametrize("form", FORMS)
async def test_each_form_is_read(form: str, shop_api: httpx.AsyncClient) -> None:
    before = await head(shop_api)
    answer = await send(shop_api, FORMS[form], form=form)
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert await entries(shop_api) == {"a.example": "mx", "b.example": "map:mxmap"}
    assert report.pop("lines") == {"text/csv": 3, "text/plain": 4, "application/json": 2}.get(
        form, 3
    )
    assert report == {
        "revision": before + 1,
        "created": 2,
        "changed": 0,
        "unchanged": 0,
        "deleted": 0,
        "skipped": 0,
        "errors": [],
        "error_count": 0,
    }
    assert answer.headers["Relay-Revision"] == str(before + 1)
    assert answer.headers["Relay-Changed"] == "true"


async def test_an_import_is_one_revision_with_its_message(shop_api: httpx.AsyncClient) -> None:
    await send(shop_api, line("a.example") + line("b.example"), Relay_Message="INC-7")
    newest = (await shop_api.get("/v1/revisions?limit=1")).json()["items"][0]
    assert (newest["message"], newest["change_count"]) == ("INC-7", 2)


async def test_merge_keeps_what_the_file_does_not_name(shop_api: httpx.AsyncClient) -> None:
    await send(shop_api, line("a.example") + line("b.example"))
    answer = await send(
        shop_api, line("b.example", "map:mxmap") + line("c.example") + line("a.example")
    )
    report = answer.json()
    assert (report["created"], report["changed"], report["unchanged"], report["deleted"]) == (
        1,
        1,
        1,
        0,
    )
    assert await entries(shop_api) == {
        "a.example": "mx",
        "b.example": "map:mxmap",
        "c.example": "mx",
    }


async def test_an_import_that_changes_nothing_makes_no_revision(
    shop_api: httpx.AsyncClient,
) -> None:
    await send(shop_api, line("a.example"))
    before = await head(shop_api)
    for query in ("", "?mode=replace"):
        answer = await send(shop_api, line("A.example"), query)
        assert answer.headers["Relay-Changed"] == "false"
        assert (answer.json()["unchanged"], answer.json()["revision"]) == (1, before)
    assert (await send(shop_api, "")).json()["lines"] == 0
    assert await head(shop_api) == before


async def test_replace_deletes_what_the_file_does_not_name(shop_api: httpx.AsyncClient) -> None:
    await send(shop_api, "".join(line(f"d{n}.example") for n in range(20)))
    before = await head(shop_api)
    kept = "".join(line(f"d{n}.example") for n in range(17))
    answer = await send(shop_api, kept, "?mode=replace")
    assert (answer.status_code, answer.json()["code"]) == (409, "too-many-deletes")
    assert {k: answer.json()[k] for k in ("deletes", "max_deletes", "entries")} == {
        "deletes": 3,
        "max_deletes": 2,
        "entries": 20,
    }
    assert await head(shop_api) == before
    assert (await send(shop_api, kept, "?mode=replace&max_deletes=2")).status_code == 409
    answer = await send(shop_api, kept + line("new.example"), "?mode=replace&max_deletes=3")
    report = answer.json()
    assert (report["deleted"], report["created"], report["unchanged"]) == (3, 1, 17)
    assert len(await entries(shop_api)) == 18
    fewer = "".join(line(f"d{n}.example") for n in range(17))
    assert (await send(shop_api, fewer, "?mode=replace")).json()["deleted"] == 1


HOSTILE = (
    line("ok.example").encode()
    + b'{"key":"twice.example","key":"twice.example","via":"mx"}\n'
    + b'{"key":"canary-1.example","via":"canary://x"}\n'
    + b'{"key":"nan.example","via":NaN}\n'
    + b'{"key":"canary..example","via":"mx"}\n'
    + b"\xff\xfe\n"
    + b"x" * (10 << 20)
    + b"\n"
    + line("OK.example").encode()
    + b'{"key":"nul.example\\u0000","via":"mx"}\n'
    + b'{"key":"nul.example\x00","via":"mx"}\n'
    + line("gone.example", "map:canary").encode()
    + line("cred.example", "tls://canary@mx1.example.net").encode()
    + line("cred.example", "tls://acct@canary.example").encode()
    + b'{"key":"more.example","via":"mx","canary":1}\n'
    + b'{"key":"none.example"}\n[]\n{"key":"t.example","via":1}\n'
    + line("last.example").encode().rstrip()
)
WRONG = [
    (2, "not-json"),
    (3, "bad-schema"),
    (4, "not-json"),
    (5, "bad-key"),
    (6, "bad-encoding"),
    (7, "too-long"),
    (8, "duplicate-key"),
    (9, "bad-key"),
    (10, "not-json"),
    (11, "dangling-map"),
    (12, "dangling-credential"),
    (13, "credential-not-for-host"),
    (14, "unknown-member"),
    (15, "missing"),
    (16, "bad-type"),
    (17, "bad-type"),
]


async def test_every_bad_line_is_named_and_none_is_taken(shop_api: httpx.AsyncClient) -> None:
    before = await head(shop_api)
    answer = await send(shop_api, HOSTILE)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "import-refused")
    report = problem["report"]
    assert [(each["line"], each["code"]) for each in report["errors"]] == WRONG
    assert [each["detail"].split(":")[0] for each in problem["errors"]] == [
        f"line {number}" for number, _ in WRONG
    ]
    assert pointers(answer) == [("body", "", code) for _, code in WRONG]
    assert (report["lines"], report["error_count"], report["skipped"]) == (18, 16, 0)
    assert (report["revision"], report["created"]) == (before, 0)
    assert "canary" not in answer.text
    assert (await head(shop_api), await entries(shop_api)) == (before, {})


async def test_bad_lines_are_left_out_where_that_is_asked_for(shop_api: httpx.AsyncClient) -> None:
    report = (await send(shop_api, HOSTILE, "?on_error=skip")).json()
    assert [(each["line"], each["code"]) for each in report["errors"]] == WRONG
    assert (report["created"], report["skipped"], report["error_count"]) == (2, 16, 16)
    assert set(await entries(shop_api)) == {"ok.example", "last.example"}


async def test_replace_spares_what_a_bad_line_names(shop_api: httpx.AsyncClient) -> None:
    await send(shop_api, "".join(map(line, ("a.example", "b.example", "c.example"))))
    bad = json.dumps({"key": "A.example", "via": "no hop"}) + "\n"
    query = "?mode=replace&on_error=skip&max_deletes=3"
    report = (await send(shop_api, bad + line("b.example"), query)).json()
    assert (report["deleted"], report["skipped"]) == (1, 1)
    assert set(await entries(shop_api)) == {"a.example", "b.example"}


async def test_a_hundred_errors_are_named_and_all_are_counted(shop_api: httpx.AsyncClient) -> None:
    problem = (await send(shop_api, "nothing\n" * 250)).json()
    assert problem["report"]["error_count"] == 250
    assert [each["line"] for each in problem["report"]["errors"]] == list(range(1, 101))
    assert len(problem["errors"]) == 100
    assert "250 lines" in problem["detail"]


@pytest.mark.parametrize(
    ("form", "content", "code"),
    [
        ("text/csv", "a.example", "bad-row"),
        ("text/csv", "via,key", "bad-row"),
        ("text/csv", 'a.example,"mx\n', "bad-row"),
        ("text/csv", "a.example,mx,more", "bad-row"),
        ("text/csv", " a.example,mx", "bad-key"),
        ("text/plain", "a.example", "bad-row"),
        ("text/plain", "a.example mx more", "bad-row"),
        ("text/plain", "a.example\x00 mx", "bad-key"),
        ("application/x-ndjson", '\ufeff{"key":"a.example","via":"mx"}', "not-json"),
        ("application/x-ndjson", "[" * 5000, "not-json"),
        ("application/x-ndjson", line("a.example") * 3, "duplicate-key"),
        ("text/csv", "a.example,mx\nb.example,mx\na.example,mx\n", "duplicate-key"),
    ],
)
async def test_lines_of_other_shapes_are_refused(
    form: str, content: str, code: str, shop_api: httpx.AsyncClient
) -> None:
    answer = await send(shop_api, content, form=form)
    assert pointers(answer)[0] == ("body", "", code)


@pytest.mark.parametrize(
    ("content", "status", "found"),
    [
        ('{"entries":[{"key":"a.example","via":"mx"},]}', 400, []),
        ('{"entries":[{"key":"a.example","via":"mx"}', 400, []),
        ('{"entries":[]} {}', 400, []),
        ('\ufeff{"entries":[]}', 400, []),
        ("", 400, []),
        ("{}", 422, [("body", "", "bad-type")]),
        (
            '{"entries":[' + ", ".join(['{"key":"a.example","via":"mx"}'] * 3) + "]}",
            422,
            [("body", f"/entries/{n}/key", "duplicate-key") for n in (1, 2)],
        ),
        ("[]", 422, [("body", "", "bad-type")]),
        ('{"entries":[' + "[" * 9000, 400, []),
        ('{"entries":[{"key":"a.example","key":"a.example","via":"mx"}]}', 400, []),
        (
            '{"entries":[{"key":"a.example","via":"mx"},{"key":"a..","via":"mx"},{"key":"b.example","via":"no"}, 7]}',
            422,
            [("body", "/entries/1/key", "bad-key"), ("body", "/entries/3", "bad-type")],
        ),
    ],
)
async def test_json_of_other_shapes_is_refused(
    content: str, status: int, found: list[object], shop_api: httpx.AsyncClient
) -> None:
    answer = await send(shop_api, content, form="application/json")
    assert answer.status_code == status, answer.text
    assert pointers(answer) == found


async def test_what_may_not_be_sent_is_refused_before_the_body(shop_api: httpx.AsyncClient) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"".join(pytest.fail("the body was asked for") for _ in "x")

    for path, headers, status in (
        ("/v1/tables/none/import", {}, 404),
        (f"{PATH}/import", {"Authorization": "none"}, 401),
        (f"{PATH}/import", await bearer(shop_api, "routing:read"), 403),
        (f"{PATH}/import", {"If-Match": '"1"'}, 412),
        (f"{PATH}/import", {"Content-Encoding": "gzip"}, 415),
        (f"{PATH}/import?mode=other", {}, 422),
    ):
        sent = {"Content-Type": "text/csv"} | headers
        assert (await shop_api.post(path, content=never(), headers=sent)).status_code == status
    answer = await shop_api.post(
        f"{PATH}/import", content=b"<x/>", headers={"Content-Type": "text/xml"}
    )
    assert set(answer.headers["Accept"].split(", ")) == set(FORMS)


async def test_if_match_names_the_head(shop_api: httpx.AsyncClient) -> None:
    before = await head(shop_api)
    assert (await send(shop_api, line("a.example"), If_Match=f'"{before}"')).status_code == 200
    assert (await send(shop_api, line("b.example"), If_Match=f'"{before}"')).status_code == 412


async def test_a_dry_run_says_all_and_stores_nothing(shop_api: httpx.AsyncClient) -> None:
    before = await head(shop_api)
    answer = await send(shop_api, line("a.example"), "?dry_run=true")
    assert answer.headers["Dry-Run"] == "true"
    assert (answer.json()["created"], answer.json()["revision"]) == (1, before)
    assert (await send(shop_api, "no\n", "?dry_run=true")).status_code == 422
    assert (await head(shop_api), await entries(shop_api)) == (before, {})


async def test_a_table_that_changes_while_the_file_comes_in(shop_api: httpx.AsyncClient) -> None:
    async def rekeyed(body: dict[str, object] | None) -> httpx.Response:
        async def parts() -> AsyncIterator[bytes]:
            yield line("a.example").encode()
            if body is None:
                await shop_api.delete(PATH)
            else:
                await made(shop_api, "tables/by-domain", body)
            yield line("b.example").encode()

        return await send(shop_api, parts())

    assert (await rekeyed(TABLE | {"key": "sender"})).status_code == 412
    assert (await rekeyed(None)).status_code == 404


async def test_the_revision_before_an_import_can_be_restored(shop_api: httpx.AsyncClient) -> None:
    await send(shop_api, line("a.example") + line("b.example"))
    before = await head(shop_api)
    await send(
        shop_api, line("b.example", "map:mxmap") + line("c.example"), "?mode=replace&max_deletes=9"
    )
    answer = await shop_api.post(f"/v1/revisions/{before}/restore", json={})
    assert answer.status_code == 200, answer.text
    assert await entries(shop_api) == {"a.example": "mx", "b.example": "mx"}


async def test_an_import_need_not_be_waited_for(shop_api: httpx.AsyncClient) -> None:
    answer = await send(shop_api, line("a.example"), Prefer="wait=9, respond-async")
    assert answer.status_code == 202, answer.text
    assert answer.headers["Preference-Applied"] == "respond-async"
    place = answer.headers["Location"]
    assert (answer.json()["table"], answer.json()["lines"]) == ("by-domain", 1)
    assert place == f"/v1/imports/{answer.json()['id']}"
    told = await ended(shop_api, place)
    assert (told["state"], told["report"]["created"], told["problem"]) == ("done", 1, None)
    assert told["finished_at"] is not None
    answer = await send(
        shop_api, line("b.example"), "?mode=replace&max_deletes=0", Prefer="respond-async"
    )
    told = await ended(shop_api, answer.headers["Location"])
    assert (told["state"], told["report"]) == ("refused", None)
    assert (told["problem"]["code"], told["problem"]["deletes"]) == ("too-many-deletes", 1)
    assert (await shop_api.get("/v1/imports/none")).status_code == 404
    assert (await send(shop_api, "no\n", Prefer="respond-async")).status_code == 422


async def test_a_file_is_bounded_and_not_waited_for_for_ever(
    shop_api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOAD", 100)
    answer = await send(shop_api, line("a.example") * 9)
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert answer.headers["Connection"] == "close"
    monkeypatch.setattr(uploads, "IDLE_LIMIT_S", 0.05)

    async def stuck() -> AsyncIterator[bytes]:
        yield line("a.example").encode()
        await asyncio.sleep(20)

    answer = await send(shop_api, stuck())
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")
    assert await entries(shop_api) == {}


async def test_a_file_of_more_entries_than_there_may_be_is_not_read_on(
    shop_api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MAX_ENTRIES", 3)
    rows = "".join(f"d{number}.example,mx\n" for number in range(4))
    answer = await send(shop_api, rows, form="text/csv")
    assert (answer.status_code, answer.json()["code"]) == (409, "limit-reached")
    assert await entries(shop_api) == {}


async def test_of_imports_that_have_ended_the_oldest_are_forgotten(
    shop_api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_jobs, "KEPT", 2)
    places = []
    for letter in "abc":
        answer = await send(shop_api, line(f"{letter}.example"), Prefer="respond-async")
        places.append(answer.headers["Location"])
        await ended(shop_api, places[-1])
    assert [(await shop_api.get(place)).status_code for place in places] == [404, 200, 200]
    assert len(await entries(shop_api)) == 3


async def test_two_imports_and_a_hundred_edits_each_land_whole(shop_api: httpx.AsyncClient) -> None:
    before = await head(shop_api)

    async def slowly(letter: str) -> AsyncIterator[bytes]:
        for number in range(300):
            yield line(f"{letter}{number}.example").encode()
            await asyncio.sleep(0)

    async def edited(number: int) -> httpx.Response:
        return await shop_api.put(f"{PATH}/entries/e{number}.example", json={"via": "mx"})

    answers = await asyncio.gather(
        send(shop_api, slowly("x")), send(shop_api, slowly("y")), *(edited(n) for n in range(100))
    )
    assert {answer.status_code for answer in answers} == {200, 201}
    expected = {f"{letter}{number}.example" for letter in "xy" for number in range(300)}
    expected |= {f"e{number}.example" for number in range(100)}
    assert set(await entries(shop_api)) == expected
    assert await head(shop_api) == before + 102
