"""The compatibility gate catches each way of breaking a caller, and nothing else."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from app.server.api.app import routes_only
from tests.http.compatibility import broken_promises

OLD: dict[str, Any] = routes_only().openapi()
Change = Callable[[Any], object]

PATH = "/v1/relay-maps/{map}"


def schema(document: Any, name: str) -> Any:
    return document["components"]["schemas"][name]


def needs(name: str, member: str) -> Change:
    return lambda d: schema(d, name)["required"].append(member)


def sets(name: str, member: str, **values: object) -> Change:
    return lambda d: schema(d, name)["properties"][member].update(values)


BREAKING: dict[str, Change] = {
    "a path is gone": lambda d: d["paths"].pop(PATH),
    "a method is gone": lambda d: d["paths"][PATH].pop("patch"),
    "an operation is renamed": lambda d: d["paths"][PATH]["get"].update(operationId="read_map"),
    "a scope is needed": lambda d: d["paths"][PATH]["get"]["x-required-scopes"].append("operate"),
    "a parameter is gone": lambda d: d["paths"]["/v1/relays"]["get"]["parameters"].pop(),
    "a parameter is needed": lambda d: d["paths"]["/v1/relays"]["get"]["parameters"][0].update(
        required=True
    ),
    "a body type is gone": lambda d: d["paths"][PATH + "/import"]["post"]["requestBody"][
        "content"
    ].pop("text/plain"),
    "an answer is gone": lambda d: d["paths"][PATH]["put"]["responses"].pop("201"),
    "a schema is gone": lambda d: d["components"]["schemas"].pop("RelayOut"),
    "a member of an answer is gone": lambda d: schema(d, "RelayOut")["properties"].pop("host"),
    "a member of an answer may be missing": lambda d: schema(d, "RelayOut")["required"].remove(
        "host"
    ),
    "a member of an answer may be null": sets(
        "RelayOut", "host", anyOf=[{"type": "string"}, {"type": "null"}]
    ),
    "a member of a body is gone": lambda d: schema(d, "RelayIn")["properties"].pop("comment"),
    "a member of a body is needed": needs("RelayIn", "weight"),
    "a body takes another type": sets("RelayIn", "weight", type="string"),
    "a body takes less": sets("RelayIn", "weight", maximum=10),
    "a body takes fewer texts": sets("RelayIn", "url", pattern="^smtp://"),
    "a value of an enumeration is gone": lambda d: schema(d, "Policy")["enum"].remove("hash"),
}
HARMLESS: dict[str, Change] = {
    "nothing": lambda _: None,
    "a path more": lambda d: d["paths"].update({"/v1/new": {}}),
    "a member of an answer more": lambda d: schema(d, "RelayOut")["properties"].update(
        new={"type": "string"}
    ),
    "a member of a body more": lambda d: schema(d, "RelayIn")["properties"].update(
        new={"type": "string"}
    ),
    "a body takes more": sets("RelayIn", "weight", maximum=10_000),
    "other words": lambda d: d["paths"][PATH]["get"].update(description="new"),
}


def changed(change: Change) -> dict[str, Any]:
    new = copy.deepcopy(OLD)
    change(new)
    return new


@pytest.mark.parametrize("change", BREAKING.values(), ids=BREAKING)
def test_what_breaks_callers_is_found(change: Change) -> None:
    assert broken_promises(OLD, changed(change))


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_what_breaks_nobody_is_let_through(change: Change) -> None:
    assert broken_promises(OLD, changed(change)) == []
