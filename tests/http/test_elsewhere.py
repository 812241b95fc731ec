"""Whoever may write routing cannot make a password leave towards a host of their choice."""

import json
from typing import Any

import httpx
import pytest

from tests.http.operations import OPERATIONS
from tests.http.samples import CREDENTIAL, bearer, head, made, shop

pytestmark = pytest.mark.anyio

URL = "tls://acct@evil.example"
MAP = {"relays": [{"url": URL}]}
RULE = {"action": {"kind": "relay", "via": URL}}
TABLE = {"key": "sender", "default": URL}

WAYS: list[tuple[str, str, Any]] = [
    ("create_relay_map", "relay-maps", {"name": "x", **MAP}),
    ("put_relay_map", "relay-maps/x", MAP),
    ("put_relay_map", "relay-maps/mxmap", MAP),
    ("put_relay", "relay-maps/mxmap/relays/new", {"url": URL}),
    ("put_relay", "relay-maps/mxmap/relays/mx2", {"url": URL}),
    ("patch_relay", "relay-maps/mxmap/relays/mx1", {"url": URL}),
    ("import_relays", "relay-maps/mxmap/import", {"urls": ["smtp://a.example", URL]}),
    ("import_relays", "relay-maps/mxmap/import", f"smtp://a.example\n{URL}\n"),
    ("create_rule", "rules", {"name": "x", **RULE}),
    ("put_rule", "rules/x", RULE),
    ("patch_rule", "rules/shop-out", RULE),
    ("create_table", "tables", {"name": "x", **TABLE}),
    ("put_table", "tables/x", TABLE),
    ("patch_table", "tables/t", {"default": URL}),
    ("put_entry", "tables/t/entries/a.example", {"via": URL}),
    ("make_changes", "changes", {"changes": [{"put": "relay-maps/x", "body": MAP}]}),
    ("make_changes", "changes", {"changes": [{"put": "rules/x", "body": RULE}]}),
    ("make_changes", "changes", {"changes": [{"put": "tables/x", "body": TABLE}]}),
    ("import_entries", "tables/t/import", {"entries": [{"key": "a.example", "via": URL}]}),
    ("import_entries", "tables/t/import", f"b.example mx\na.example {URL}\n"),
    (
        "make_changes",
        "changes",
        {"changes": [{"put": "tables/t/entries/a.example", "body": {"via": URL}}]},
    ),
]
"""Operation, path and body of every way in which a relay URL with a label gets into the routing."""

METHODS = {operation.id: operation.method for operation in OPERATIONS}


def test_every_operation_that_writes_routing_from_a_body_is_a_way() -> None:
    writing = {
        operation.id
        for operation in OPERATIONS
        if "requestBody" in operation.documented
        and "routing:write" in operation.documented["x-required-scopes"]
    }
    # A patch of a map takes no relays, whatever they are: they are patched one by one.
    assert {operation for operation, _, _ in WAYS} == writing - {"patch_relay_map"}


@pytest.fixture
async def writer(api: httpx.AsyncClient) -> dict[str, str]:
    """The token of somebody who may write routing and no credential, which is there."""
    await shop(api)
    await made(api, "tables/t", {"key": "sender"})
    return await bearer(api, "routing:write")


@pytest.mark.parametrize(("operation", "path", "body"), WAYS, ids=str)
async def test_a_label_towards_another_host_is_refused_whatever_the_way(
    api: httpx.AsyncClient, writer: dict[str, str], operation: str, path: str, body: Any
) -> None:
    before = await head(api)
    text = isinstance(body, str)
    answer = await api.request(
        METHODS[operation],
        f"/v1/{path}",
        content=body if text else json.dumps(body),
        headers=writer | {"Content-Type": "text/plain" if text else "application/json"},
    )
    code = "import-refused" if operation == "import_entries" else "credential-not-for-host"
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert {error["code"] for error in answer.json()["errors"]} == {"credential-not-for-host"}
    assert await head(api) == before


async def test_who_writes_routing_cannot_widen_the_hosts_of_a_credential(
    api: httpx.AsyncClient, writer: dict[str, str]
) -> None:
    wider = CREDENTIAL | {"hosts": ["evil.example"]}
    refused = await api.put("/v1/credentials/acct", json=wider, headers=writer)
    assert (refused.status_code, refused.json()["scope"]) == (403, "credentials:write")
