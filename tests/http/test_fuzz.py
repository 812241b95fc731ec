"""Requests made from the document, good and bad: no 5xx, and no answer that is not documented."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)

from app.server.api.app import routes_only
from tests.http.fields import furnish
from tests.http.servers import Server

EXAMPLES = 10
"""For each operation; more than five hundred requests in all."""

OF_EVERY_PATH = {400, 404, 405, 413, 415}
"""What a request can meet before it meets an operation: documented once, as `default`."""

_document = routes_only().openapi()
schema = schemathesis.openapi.from_dict(_document)
schema.config.phases.coverage.enabled = False
OPERATIONS = [
    schema[path][method] for path, methods in _document["paths"].items() for method in methods
]
Operation = schemathesis.APIOperation[Any, Any, Any, Any]
CHECKS = [content_type_conformance, response_headers_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("fuzzed"), RELAYMAP_DNS_SERVERS="127.0.0.1:9") as running:
        asyncio.run(_furnish(running))
        yield running


def _answered(server: Server) -> Counter[str]:
    """How many requests the server has answered, by the first digit of the status."""
    headers = {"Authorization": f"Bearer {server.token}"}
    metrics = httpx.get(f"{server.base}/metrics", headers=headers).text
    counted: Counter[str] = Counter()
    for status, count in re.findall(r'http_requests_total{.*status="(\d)\d\d"} (\d+)', metrics):
        counted[status] += int(count)
    return counted


async def _furnish(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    async with httpx.AsyncClient(base_url=server.base, headers=headers) as api:
        await furnish(api)


# Not `schema.parametrize()`: all its tests have one name, which xdist takes for one test.
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_request_gets_a_documented_answer(
    operation: Operation, server: Server, data: st.DataObject
) -> None:
    modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]
    case = data.draw(st.one_of(modes))
    for waiting in ("wait", "push"):  # an answer a minute later is one that no MTA gives here
        case.query.pop(waiting, None)
    answer = case.call(
        base_url=server.base, headers={"Authorization": f"Bearer {server.token}"}, timeout=20
    )
    assert answer.status_code < 500, answer.text
    documented = case.operation.definition.raw["responses"]
    assert str(answer.status_code) in documented or answer.status_code in OF_EVERY_PATH
    case.validate_response(answer, checks=CHECKS)


def test_good_and_bad_requests_were_made_and_none_was_unforeseen(server: Server) -> None:
    """The last one of this file: it says what the ones before it came to."""
    answered = _answered(server)
    assert answered["2"] > 40
    assert answered["4"] > 40
    assert answered["5"] == 0
    assert "unforeseen-error" not in server.log
