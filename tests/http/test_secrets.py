"""A password and a username, wherever in a request they are put, come out nowhere."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.http.agents import Agent
from tests.http.fields import furnish
from tests.http.operations import OF_AGENTS, OPERATIONS, Operation, exemplify
from tests.http.samples import CREDENTIAL, made
from tests.http.servers import Server
from tests.leaks import forms

PASSWORD = "5ecret~ Canary/of+the:mine?"
USERNAME = "5inging~canary@coal.mine/+1"
FORMS = {secret: forms(secret) for secret in (PASSWORD, USERNAME)}
STORED = CREDENTIAL | {"username": USERNAME, "password": PASSWORD}
ONE_RELAY = {"relays": [{"name": "mx1", "url": "tls+auth://acct@mx1.example.net"}]}

PAIR = f"{USERNAME}:{PASSWORD}"
URL = f"tls+auth://{quote(USERNAME, safe='')}:{quote(PASSWORD, safe='')}@mx1.example.net"
TEXTS = (PAIR, URL, f"smtps://{PAIR}@mx1.example.net")

SAY_USERNAMES = {"put_credential", "get_credential", "list_credentials"}
"""What a credential is, those who may read it are told, all but its password."""


@dataclass(frozen=True)
class Request:
    """One request that holds a secret.

    Attributes:
        free: the secret is where any text may be, such as a description: an answer that is no
            refusal may say it again.
    """

    url: str
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    free: bool = False


def leaks(said: bytes) -> set[str]:
    """Which secrets these octets tell, in any form."""
    return {secret for secret in FORMS for form in FORMS[secret] if form in said}


# --- where a secret is put ---------------------------------------------------------------------


def in_path(operation: Operation) -> Iterator[Request]:
    examples, text = operation.path_examples(), quote(PAIR, safe="")
    yield Request(f"{operation.path.format(**examples)}/{text}")
    for name in examples:
        yield Request(operation.path.format(**(examples | {name: text})))


def in_query(operation: Operation) -> Iterator[Request]:
    url = httpx.URL(operation.url())
    known = [each["name"] for each in operation.parameters if each["in"] == "query"]
    for text in TEXTS:
        for name in (*known, "password", "username", PASSWORD):
            yield Request(str(url.copy_set_param(name, text)), free=name in known)


def in_headers(operation: Operation) -> Iterator[Request]:
    basic = f"Basic {b64encode(PAIR.encode()).decode()}"
    for name in ("If-Match", "If-None-Match", "Accept", "X-Request-Id", "Cookie"):
        yield Request(operation.url(), headers={name: PAIR})
    for name in ("If-Match", "If-None-Match"):
        yield Request(operation.url(), headers={name: f'"{PAIR}"'})
    for value in (basic, f"Bearer {PAIR}", f"Bearer rly_{PAIR}"):
        yield Request(operation.url(), headers={"Authorization": value})


def in_body(operation: Operation) -> Iterator[Request]:
    for media_type, example in filter(None, operation.bodies()):
        headers = {"Content-Type": media_type}
        typed = {"Content-Type": f"{media_type}; charset={PAIR}"}
        yield Request(operation.url(), example, typed)
        for content in malformed():
            yield Request(operation.url(), content, headers)
        if media_type.endswith(("/json", "+json")):
            for body, free in planted(json.loads(example)):
                yield Request(operation.url(), json.dumps(body).encode(), headers, free)
        else:
            for text in TEXTS:
                yield Request(operation.url(), f"smtp://a.example\n{text}\n".encode(), headers)


def malformed() -> Iterator[bytes]:
    """What is no JSON, and holds a secret."""
    whole = json.dumps({"username": USERNAME, "password": PASSWORD})
    yield from (whole[:-1].encode(), whole.replace(":", "=").encode(), (whole + whole).encode())
    yield from (whole.replace("username", "password").encode(), PASSWORD.encode())


def planted(body: Any) -> Iterator[tuple[Any, bool]]:
    """The body with secrets as more members of each object and in place of each value.

    With it: whether the secret is where a free text may be.
    """
    if isinstance(body, dict):
        for more in (
            {"username": USERNAME, "password": PASSWORD},
            {"user": USERNAME, "passwd": PASSWORD},
            {PASSWORD: USERNAME, USERNAME: PASSWORD},
        ):
            yield body | more, False
        for name in body:
            yield from ((body | {name: inner}, free) for inner, free in planted(body[name]))
    if isinstance(body, list) and body:
        yield from (([inner, *body[1:]], free) for inner, free in planted(body[0]))
    for text in TEXTS:
        yield text, body is None or isinstance(body, str)


# --- and where it must not come out ------------------------------------------------------------


@pytest.fixture(scope="module")
def server(server: Server) -> Server:
    """It keeps both as a credential that a map uses, and gave them to an agent."""
    asyncio.run(_furnish(server))
    return server


async def _furnish(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    async with httpx.AsyncClient(base_url=server.base, headers=headers) as api:
        await furnish(api)
        await made(api, "credentials/acct", STORED)
        await exemplify(api)
        await made(api, "relay-maps/mxmap", ONE_RELAY)
        agent = await Agent.of(api, "mx-out-2")
        await agent.tell()
        assert (await api.post("/v1/pushes", json={"mtas": ["mx-out-2"]})).status_code == 202
        wanted = await agent.ask()
        assert wanted is not None
        assert PASSWORD in wanted.model_dump_json()


@pytest.fixture(scope="module")
def clients(server: Server) -> Iterator[dict[bool, httpx.Client]]:
    """Of an administrator; True: of an agent, which was given no password."""
    admin = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=server.base, headers=admin, timeout=20) as api:
        api.put("/v1/mtas/mx-out-3", json={}).raise_for_status()
        token = api.post("/v1/mtas/mx-out-3/token").json()["token"]
        agent = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=server.base, headers=agent, timeout=20) as link:
            yield {False: api, True: link}


@pytest.mark.parametrize("place", [in_path, in_query, in_headers, in_body])
@pytest.mark.parametrize("operation", OPERATIONS, ids=repr)
def test_no_answer_tells_a_secret_that_was_sent(
    operation: Operation,
    place: Callable[[Operation], Iterator[Request]],
    clients: dict[bool, httpx.Client],
) -> None:
    stores = operation.id == "report_state"  # it has no dry run, and free texts are kept
    for request in place(operation):
        if request.free and stores:
            continue
        answer = clients[operation.id in OF_AGENTS].request(
            operation.method, request.url, content=request.content, headers=request.headers
        )
        assert answer.status_code < 500, request
        if answer.is_success and request.free:
            continue
        may = {USERNAME} if answer.is_success and operation.id in SAY_USERNAMES else set()
        headers = b"\n".join(b": ".join(pair) for pair in answer.headers.raw)
        assert leaks(headers + b"\n" + answer.content) <= may, (request, answer.text)


def test_no_file_no_log_line_and_no_metric_tells_a_secret(
    server: Server, clients: dict[bool, httpx.Client]
) -> None:
    """The last one of this file: it looks at what the requests before it left behind."""
    metrics = clients[False].get("/metrics")
    assert metrics.status_code == 200
    assert not leaks(metrics.content)
    assert server.log
    assert not leaks(server.log.encode())
    assert "unforeseen-error" not in server.log
    files = {path.name: path.read_bytes() for path in server.state_dir.rglob("*") if path.is_file()}
    assert {"relaymap.db", "relaymap.db-wal"} <= files.keys()
    assert {name: leaks(content) for name, content in files.items() if leaks(content)} == {}
