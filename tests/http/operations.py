"""Every operation of the OpenAPI document, and a server in which everything is that examples name."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from app.server.api.app import routes_only
from tests.http.agents import Agent
from tests.http.samples import head, made

DOCUMENT: dict[str, Any] = routes_only().openapi()
SCHEMAS = DOCUMENT["components"]["schemas"]
OF_AGENTS = {"get_wanted", "report_state"}
"""What the token of an agent is for."""


class Operation:
    """One operation of the document, and the request that its examples are."""

    def __init__(self, path: str, method: str, documented: dict[str, Any]) -> None:
        self.path, self.method, self.documented = path, method.upper(), documented
        self.id: str = documented["operationId"]
        self.parameters: list[dict[str, Any]] = documented.get("parameters", [])

    def __repr__(self) -> str:
        return self.id

    def url(self) -> str:
        url, query = self.path.format(**self.path_examples()), {}
        for parameter in self.parameters:
            if parameter["in"] == "query" and parameter["required"]:
                query[parameter["name"]] = example_of(parameter)
            elif parameter["name"] == "dry_run":
                query["dry_run"] = "true"
        return str(httpx.URL(url, params=query)) if query else url

    def path_examples(self) -> dict[str, object]:
        return {each["name"]: example_of(each) for each in self.parameters if each["in"] == "path"}

    def bodies(self) -> Iterator[tuple[str, bytes] | None]:
        contents = self.documented.get("requestBody", {}).get("content", {})
        for media_type, content in contents.items():
            if media_type.endswith(("/json", "+json")):
                yield media_type, json.dumps(schema_example(content["schema"])).encode()
            else:
                yield media_type, content["example"].encode()
        if not contents:
            yield None


def example_of(parameter: dict[str, Any]) -> object:
    (example, *_) = parameter["schema"]["examples"]
    return example


def schema_example(schema: dict[str, Any]) -> object:
    reference = schema.get("$ref") or schema["anyOf"][0]["$ref"]
    (example,) = SCHEMAS[reference.rpartition("/")[2]]["examples"]
    return example


OPERATIONS = [
    Operation(path, method, documented)
    for path, item in DOCUMENT["paths"].items()
    for method, documented in item.items()
]


async def exemplify(api: httpx.AsyncClient) -> None:
    """Make what examples name and `furnish` does not: an MTA, its pushes, revisions up to 41."""
    await made(api, "tables/by-domain", {"key": "recipient-domain", "default": "map:mxmap"})
    await made(api, "tables/by-domain/entries/example.org", {"via": "mx"})
    to_table = {"kind": "relay", "via": "table:by-domain"}
    await made(api, "rules/old", {"match": {"tags": ["old"]}, "action": to_table})
    await (await Agent.of(api, "mx-out-1")).tell()
    for _ in range(7):
        assert (await api.post("/v1/pushes", json={})).status_code == 202
    number = 0
    while await head(api) < 41:
        number += 1
        await made(api, "rules/counter", {"priority": number, "action": {"kind": "reject"}})
    await api.delete("/v1/rules/counter")
