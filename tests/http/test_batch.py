"""Many questions at once: as one body, and line by line while they come."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
import pytest

from app.server.api.app import served
from app.server.api.line_stream import MAX_LINE
from app.server.api.schemas.many import MAX_QUESTIONS
from app.server.main import open_services
from app.settings import ServerSettings
from tests.http.conftest import BASE
from tests.http.dns_server import NameServer, serving
from tests.http.samples import bearer, head, made, pointers, shop
from tests.http.servers import Server

pytestmark = pytest.mark.anyio

BATCH = "/v1/resolve/batch"
NDJSON = {"Content-Type": "application/x-ndjson"}
ENVELOPES: Sequence[object] = (
    {"recipient": "joe@example.net", "sender": "ann@shop.example", "draw": 0},
    {"recipient": "joe@example.net", "sender": "ann@shop.example", "draw": 2, "explain": True},
    {"recipient": "joe@example.net", "sender": "ann@else.example"},
    {"recipient": "no address"},
    {"recipient": "joe@example.net", "mta": "nowhere"},
    {"recipient": 1, "draw": True},
    {"recipient": "joe@example.net", "client": "nobody"},
    {"recipient": "joe@example.net", "secret-member": "x"},
    {"sender": "ann@shop.example"},
    "joe@example.net",
    [1],
    {},
)


def own(answer: Any) -> Any:
    """An answer without what each request has of its own."""
    for name in ("request_id", "instance"):
        answer.pop(name, None)
    return answer


def lines_of(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_each_is_answered_as_it_would_be_alone(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.post(BATCH, json={"envelopes": ENVELOPES})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    found = answer.json()
    assert (list(found), found["revision"]) == (["revision", "results"], await head(api))
    for envelope, result in zip(ENVELOPES, found["results"], strict=True):
        alone = await api.post("/v1/resolve", json=envelope)
        if alone.status_code == 200:
            assert result == alone.json()
        else:
            assert list(result) == ["problem"]
            assert own(result["problem"]) == own(alone.json())


async def test_a_brief_answer_is_outcome_rule_and_url(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.post(f"{BATCH}?fields=brief", json={"envelopes": ENVELOPES[:4]})
    relay = {"outcome": "relay", "rule": "shop-out"}
    assert answer.json()["results"] == [
        relay | {"url": "tls+auth://acct@mx1.example.net:587"},
        relay | {"url": "smtps://mx2.example.net"},
        {"outcome": "unrouted", "rule": None, "url": None},
        {"outcome": "undeliverable", "rule": None, "url": None},
    ]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, [("body", "/envelopes", "missing")]),
        ({"envelopes": []}, [("body", "/envelopes", "bad-list")]),
        ({"envelopes": [{}] * (MAX_QUESTIONS + 1)}, [("body", "/envelopes", "bad-list")]),
        ({"envelopes": {}}, [("body", "/envelopes", "bad-type")]),
        ({"envelopes": [{}], "other": 1}, [("body", "", "unknown-member")]),
        ([], [("body", "", "bad-type")]),
        (None, [("body", "", "bad-type")]),
    ],
)
async def test_what_is_no_batch_is_refused_whole(
    api: httpx.AsyncClient, body: object, found: list[tuple[str, str, str]]
) -> None:
    answer = await api.post(BATCH, json=body)
    assert answer.status_code == 422
    assert pointers(answer) == found


async def test_no_body_is_no_batch(api: httpx.AsyncClient) -> None:
    answer = await api.post(BATCH)
    assert (answer.status_code, pointers(answer)) == (422, [("body", "", "bad-type")])


async def test_other_types_and_parameters_are_refused(api: httpx.AsyncClient) -> None:
    text = await api.post(BATCH, content=b"x", headers={"Content-Type": "text/plain"})
    assert (text.status_code, text.headers["Accept-Post"]) == (
        415,
        "application/json, application/x-ndjson",
    )
    packed = await api.post(BATCH, content=b"x", headers=NDJSON | {"Content-Encoding": "gzip"})
    assert packed.status_code == 415
    odd = await api.post(f"{BATCH}?fields=few", content=b"{}", headers=NDJSON)
    assert (odd.status_code, pointers(odd)) == (422, [("query", "/fields", "bad-choice")])


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
async def test_it_needs_the_scope_of_questions(api: httpx.AsyncClient, kind: str) -> None:
    headers = {"Content-Type": kind} | await bearer(api, "routing:read")
    assert (await api.post(BATCH, content=b"{}", headers=headers)).status_code == 403
    headers["Authorization"] = "Bearer none"
    assert (await api.post(BATCH, content=b"{}", headers=headers)).status_code == 401


@pytest.mark.parametrize("explain", [False, True])
async def test_others_have_their_turn_during_a_batch(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, explain: object
) -> None:
    """In front of the framework and behind it; every slice is as short as one can be."""
    await shop(api)
    monkeypatch.setattr("app.server.api.hot.SLICE_S", 0)
    monkeypatch.setattr("app.server.api.many.SLICE_S", 0)
    more = {"explain": True} if explain else {}
    asked = [{"recipient": f"u{n}@d.example", **more} for n in range(MAX_QUESTIONS)]
    body = {"envelopes": asked}
    asking = asyncio.ensure_future(api.post(BATCH, json=body))
    turns = 0
    while not asking.done():
        turns += 1
        await asyncio.sleep(0)
    assert len((await asking).json()["results"]) == MAX_QUESTIONS
    assert turns > MAX_QUESTIONS / 20


# --- questions that hang on the DNS -----------------------------------------------------------


@pytest.fixture
async def over_mx(settings: ServerSettings) -> AsyncIterator[tuple[httpx.AsyncClient, NameServer]]:
    """A server whose only rule is `via: mx`, and the name server that it asks."""
    zone = "; ".join(f"d{n}.test A 192.0.2.1" for n in range(100))
    async with serving(NameServer.of(f"{zone}; s.test * SILENCE")) as names:
        chosen = settings.model_copy(update={"dns_servers": (("127.0.0.1", names.port),)})
        async with open_services(chosen) as services:
            token = chosen.token_path.read_text().strip()
            transport = httpx.ASGITransport(app=served(services))
            headers = {"Authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(
                transport=transport, base_url=BASE, headers=headers
            ) as client:
                await made(client, "rules/out", {"action": {"kind": "relay", "via": "mx"}})
                yield client, names


async def test_look_ups_go_side_by_side_and_answers_keep_their_order(
    over_mx: tuple[httpx.AsyncClient, NameServer],
) -> None:
    api, names = over_mx
    body = {"envelopes": [{"recipient": f"u@d{n}.test"} for n in range(100)]}
    answer = await api.post(BATCH, json=body)
    hosts = [result["mx"]["host"] for result in answer.json()["results"]]
    assert hosts == [f"d{n}.test" for n in range(100)]
    assert len({question.split()[0] for question in names.asked}) == 100


async def test_a_batch_is_of_one_revision_whatever_is_written_meanwhile(
    over_mx: tuple[httpx.AsyncClient, NameServer],
) -> None:
    api, names = over_mx
    before = await head(api)
    body = {"envelopes": [{"recipient": f"u@{domain}.test"} for domain in ("d1", "s", "d2")]}
    asking = asyncio.ensure_future(api.post(BATCH, json=body))
    while "s.test MX" not in names.asked:  # noqa: ASYNC110  nobody tells of a question
        await asyncio.sleep(0.01)
    await made(api, "rules/no", {"priority": 1, "action": {"kind": "reject"}})
    found = (await asking).json()
    assert await head(api) > before
    assert {found["revision"], *(each["revision"] for each in found["results"])} == {before}
    assert [each["outcome"] for each in found["results"]] == ["relay", "try-again", "relay"]


# --- line by line -----------------------------------------------------------------------------


async def test_each_line_is_answered_and_a_bad_one_takes_no_other_with_it(
    api: httpx.AsyncClient,
) -> None:
    await shop(api)
    good = b'{"recipient":"joe@example.net","sender":"ann@shop.example","draw":0}'
    long = b'{"recipient":"' + b"x" * MAX_LINE + b'"}'
    bad = [b"{", b"\xff", b'{"recipient":1}', long, b'{"recipient":"a@b","recipient":"a@b"}']
    given = b"\r\n".join([good, b"", *bad, b" ", good])
    found = lines_of(await api.post(BATCH, content=given, headers=NDJSON))
    alone = (
        await api.post("/v1/resolve", content=good, headers={"Content-Type": "application/json"})
    ).json()
    assert [each["line"] for each in found] == [1, 3, 4, 5, 6, 7, 9]
    assert found[0] == {"line": 1} | alone
    assert found[-1] == {"line": 9} | alone
    codes = [each["problem"]["code"] for each in found[1:-1]]
    assert codes == ["not-json", "not-json", "invalid", "body-too-large", "not-json"]
    assert [each["problem"]["status"] for each in found[1:-1]] == [400, 400, 422, 413, 400]


async def test_a_brief_line_says_its_revision(api: httpx.AsyncClient) -> None:
    await shop(api)
    given = b'{"recipient":"joe@example.net"}\n'
    answer = await api.post(f"{BATCH}?fields=brief", content=given, headers=NDJSON)
    assert answer.text == (
        f'{{"line":1,"revision":{await head(api)},"outcome":"unrouted","rule":null,"url":null}}\n'
    )


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
async def test_lines_are_found_however_they_are_cut(api: httpx.AsyncClient, size: int) -> None:
    given = b"".join(b'{"recipient":"u%d@d.example"}\n' % n for n in range(600))[:-1]

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(given), size):
            yield given[start : start + size]

    found = lines_of(await api.post(BATCH, content=pieces(), headers=NDJSON))
    assert [each["line"] for each in found] == list(range(1, 601))
    assert {each["outcome"] for each in found} == {"unrouted"}


async def test_no_lines_have_no_answers(api: httpx.AsyncClient) -> None:
    answer = await api.post(BATCH, content=b"", headers=NDJSON)
    assert (answer.status_code, answer.content) == (200, b"")


# --- over a real socket -----------------------------------------------------------------------


class Stream:
    """A request whose body is sent piece by piece."""

    def __init__(
        self, server: Server, query: str = "?fields=brief", token: str | None = None
    ) -> None:
        self.link = socket.socket()
        for size in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.link.setsockopt(socket.SOL_SOCKET, size, 1 << 14)
        self.link.settimeout(20)
        self.link.connect(("127.0.0.1", server.port))
        self._file = self.link.makefile("rb")
        head = (
            f"POST {BATCH}{query} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {token or server.token}\r\n"
            "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.link.sendall(head.encode())

    def say(self, octets: bytes) -> None:
        self.link.sendall(b"%x\r\n%s\r\n" % (len(octets), octets))

    def end(self) -> None:
        self.link.sendall(b"0\r\n\r\n")

    def head(self) -> int:
        status = int(self._file.readline().split()[1])
        while self._file.readline().strip():
            pass
        return status

    def chunks(self) -> Iterator[bytes]:
        """What is answered, until its end."""
        while size := int(self._file.readline(), 16):
            yield self._file.read(size)
            self._file.readline()
        self._file.readline()

    def close(self) -> None:
        self._file.close()
        self.link.close()


def line(number: int) -> bytes:
    return b'{"recipient":"u%d@d.example"}\n' % number


def test_an_answer_comes_before_the_next_line_is_sent(server: Server) -> None:
    stream = Stream(server)
    stream.say(line(1))
    assert stream.head() == 200
    answers = stream.chunks()
    assert json.loads(next(answers))["line"] == 1
    stream.say(line(2)[:5])
    stream.say(line(2)[5:])
    assert json.loads(next(answers))["line"] == 2
    stream.end()
    assert list(answers) == []
    stream.close()


def test_who_does_not_read_is_not_read_from(server: Server) -> None:
    """Memory stays bounded: what is not read holds up what is sent, and nothing is lost."""
    stream = Stream(server, query="")
    stream.link.settimeout(1)
    block = b"".join(line(n) for n in range(1000))
    sent, most = b"", 64 << 20
    framed = b"%x\r\n%s\r\n" % (len(block), block)
    written = 0
    try:
        while written < most:
            written += stream.link.send(framed[written % len(framed) :])
    except TimeoutError:
        sent = framed[written % len(framed) :] if written % len(framed) else b""
    assert written < most
    stream.link.settimeout(20)
    assert stream.head() == 200
    answers = stream.chunks()
    found = next(answers).count(b"\n")  # what was read makes room for the rest
    whole = -(-written // len(framed)) * 1000

    def rest() -> int:
        return sum(answer.count(b"\n") for answer in answers)

    while sent:
        stream.link.settimeout(0.2)
        try:
            sent = sent[stream.link.send(sent) :]
        except TimeoutError:
            stream.link.settimeout(20)
            found += next(answers).count(b"\n")
    stream.link.settimeout(20)
    for answer in answers:
        found += answer.count(b"\n")
        if found == whole:
            break
    stream.end()
    assert rest() == 0
    assert found == whole
    stream.close()


async def test_who_goes_away_ends_it(server: Server) -> None:
    """The request is counted once it has ended, and others are served."""
    headers = {"Authorization": f"Bearer {server.token}"}
    async with httpx.AsyncClient(base_url=server.base, headers=headers) as api:

        async def ended() -> float:
            said = (await api.get("/metrics")).text
            name = (
                'relaymap_http_requests_total{method="POST",route="/v1/resolve/batch",status="200"}'
            )
            found = [row for row in said.splitlines() if row.startswith(name)]
            return float(found[0].split()[1]) if found else 0.0

        before = await ended()
        stream = Stream(server)
        stream.say(line(1))
        assert stream.head() == 200
        assert await ended() == before
        stream.close()
        for _ in range(1000):
            if await ended() > before:
                break
            await asyncio.sleep(0.01)
        assert await ended() == before + 1


async def test_a_stream_sees_what_is_written_meanwhile(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    async with httpx.AsyncClient(base_url=server.base, headers=headers) as api:
        stream = Stream(server)
        stream.say(line(1))
        stream.head()
        answers = stream.chunks()
        before = json.loads(next(answers))
        await made(api, "rules/none", {"action": {"kind": "reject"}})
        stream.say(line(2))
        after = json.loads(next(answers))
        stream.close()
    assert before["outcome"] == "unrouted"
    assert (after["outcome"], after["revision"]) == ("reject", before["revision"] + 1)


async def test_a_stream_ends_with_its_token(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    async with httpx.AsyncClient(base_url=server.base, headers=headers) as api:
        told = await api.post("/v1/tokens", json={"name": "asker", "scopes": ["resolve"]})
        stream = Stream(server, token=told.json()["token"])
        stream.say(line(1))
        stream.head()
        answers = stream.chunks()
        assert "outcome" in json.loads(next(answers))
        assert (await api.delete(f"/v1/tokens/{told.json()['id']}")).status_code == 204
        stream.say(line(2))
        last = [json.loads(each) for each in answers]
        stream.close()
    assert [each["problem"]["code"] for each in last] == ["unauthenticated"]
