"""The OpenAPI document: complete, true to the server, and good for generated clients."""

import importlib.util
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from app.server.api.import_jobs import Job
from app.server.api.openapi import models_of
from app.server.api.schemas.model import Model
from app.server.storage import TokenRow
from tests.http.agents import Agent
from tests.http.compatibility import broken_promises
from tests.http.conftest import BASE, Furnished
from tests.http.operations import (
    DOCUMENT,
    OF_AGENTS,
    OPERATIONS,
    SCHEMAS,
    Operation,
    example_of,
    exemplify,
)

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]

REFUSED_BY_STATE = {
    "delete_relay_map": 409,  # examples name what other examples use
    "delete_credential": 409,
    "delete_table": 409,
    "get_mta_preview": 422,  # a map by ratio is more than the files of a daemon can say
}


def check(answer: httpx.Response, operation: Operation) -> None:
    """The answer is one that the document promises."""
    documented = operation.documented["responses"][str(answer.status_code)]
    content = documented.get("content", {})
    media_type = answer.headers.get("Content-Type", "").partition(";")[0]
    if not answer.content:
        assert not content or answer.status_code == 204
        return
    assert media_type in content, f"{media_type} is not documented"
    if media_type.endswith(("/json", "+json")):
        reference = content[media_type]["schema"]["$ref"]
        assert set(answer.json()) >= set(SCHEMAS[reference.rpartition("/")[2]]["required"])


@pytest.fixture(scope="module")
async def exemplary(furnished: Furnished) -> Furnished:
    """A server in which everything is that examples name."""
    await exemplify(furnished.api)
    token = example_of(next(o for o in OPERATIONS if o.id == "delete_token").parameters[0])
    row = TokenRow(str(token), "x", ("resolve",), None, "0" * 64, datetime.now(UTC))
    await furnished.services.store.put_token(row)
    name = example_of(next(o for o in OPERATIONS if o.id == "get_import").parameters[0])
    furnished.services.imports.put(Job(str(name), "by-domain", 3, datetime.now(UTC)))
    return furnished


@pytest.mark.parametrize("operation", OPERATIONS, ids=repr)
async def test_every_example_gets_its_documented_answer(
    operation: Operation, exemplary: Furnished
) -> None:
    api = exemplary.api
    headers: dict[str, str] = {}
    if operation.id in OF_AGENTS:
        headers = (await Agent.of(api, f"mx-{operation.id.replace('_', '-')}"))._headers
    for body in operation.bodies():
        content, more = (None, {}) if body is None else (body[1], {"Content-Type": body[0]})
        answer = await api.request(
            operation.method, operation.url(), content=content, headers=headers | more
        )
        expected = REFUSED_BY_STATE.get(operation.id)
        assert answer.status_code == expected or answer.is_success, answer.text
        check(answer, operation)


@pytest.mark.parametrize("operation", OPERATIONS, ids=repr)
def test_every_operation_is_described(operation: Operation) -> None:
    documented = operation.documented
    assert documented["summary"]
    assert documented["description"].strip()
    assert not documented["summary"].endswith(".")
    (tag,) = documented["tags"]
    assert tag in {described["name"] for described in DOCUMENT["tags"]}
    for parameter in operation.parameters:
        assert parameter["description"], parameter["name"]
        if parameter["in"] == "path" or parameter["required"]:
            assert example_of(parameter) is not None
    assert "default" in documented["responses"]
    for status, answer in documented["responses"].items():
        if status == "default" or int(status) >= 400:
            assert list(answer["content"]) == ["application/problem+json"]


def test_operation_ids_are_verb_and_noun_and_unique() -> None:
    ids = [operation.id for operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    verbs = {"get", "list", "put", "create", "patch", "delete", "import", "make", "resolve"}
    verbs |= {"restore", "report", "export"}
    assert {each.partition("_")[0] for each in ids} <= verbs


@pytest.mark.parametrize("operation", OPERATIONS, ids=repr)
def test_scopes_are_written_beside_the_operation(operation: Operation) -> None:
    documented = operation.documented
    if documented["security"]:
        assert documented["security"] == [{"bearer": []}]
        for scope in documented["x-required-scopes"]:
            assert f"`{scope}`" in documented["description"]


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_schemas_suit_generated_clients(name: str) -> None:
    schema = SCHEMAS[name]
    assert not name.endswith(("-Input", "-Output"))
    for member in schema.get("properties", {}).values():
        assert "title" not in member
        assert "writeOnly" not in member
        assert "readOnly" not in member
    if name.endswith(("Out", "Page")):
        assert set(schema["required"]) == set(schema["properties"]), "an answer has all of them"
        assert "additionalProperties" not in schema


def test_every_example_is_whole_and_of_its_model() -> None:
    examples = {model: model.EXAMPLE for model in models_of(Model) if model.EXAMPLE is not None}
    assert len(examples) > 40
    for model, example in examples.items():
        model.model_validate_json(json.dumps(example))
        if model.__name__ in SCHEMAS:
            assert SCHEMAS[model.__name__]["examples"] == [example], "nulls are part of it"


def test_the_document_is_served_without_a_token_as_it_is_committed() -> None:
    committed = json.loads((ROOT / "openapi/openapi.json").read_text(encoding="utf-8"))
    assert committed == json.loads(json.dumps(DOCUMENT))


async def test_the_document_is_served(api: httpx.AsyncClient) -> None:
    answer = await api.get("/openapi.json", headers={"Authorization": ""})
    assert answer.json() == json.loads(json.dumps(DOCUMENT))


def test_no_promise_to_callers_is_broken() -> None:
    released = json.loads((ROOT / "openapi/released.json").read_text(encoding="utf-8"))
    assert broken_promises(released, DOCUMENT) == []


# --- a generated client -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ModuleType]:
    """What the generator said, and the client that it made."""
    place = tmp_path_factory.mktemp("client")
    document, client = place / "openapi.json", place / "relaymap_client"
    document.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    programs = Path(sys.executable).parent
    said = subprocess.run(
        [
            programs / "openapi-python-client",
            "generate",
            "--meta=none",
            f"--path={document}",
            f"--output-path={client}",
        ],
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    sys.path.insert(0, str(place))
    try:
        spec = importlib.util.find_spec("relaymap_client")
        assert spec is not None
        module = importlib.import_module("relaymap_client")
    finally:
        sys.path.remove(str(place))
    return said.stdout + said.stderr, module


def test_a_client_is_generated_whole(generated: tuple[str, ModuleType]) -> None:
    said, _ = generated
    warnings = [line for line in said.splitlines() if "WARNING" in line]
    # The generator's own limit: of two body types it knows JSON, and makes the method with it.
    assert sorted(warnings) == [
        "WARNING parsing POST /v1/relay-maps/{map}/import within relay_maps.",
        "WARNING parsing POST /v1/resolve/batch within questions.",
        *["WARNING parsing POST /v1/tables/{table}/import within tables."] * 3,
    ]
    assert "Unsupported content type text/plain" in said
    assert "will not be generated" not in said


async def test_a_generated_client_works(
    generated: tuple[str, ModuleType], api: httpx.AsyncClient, admin_token: str
) -> None:
    _, package = generated
    client = package.AuthenticatedClient(base_url=BASE, token=admin_token)
    client.set_async_httpx_client(api)

    def call(name: str) -> Any:
        return importlib.import_module(f"relaymap_client.api.{name}").asyncio

    models = importlib.import_module("relaymap_client.models")
    relay = models.RelayIn(url="smtps://mx1.example.net", weight=2)
    body = models.RelayMapIn(relays=[relay])
    created = await call("relay_maps.put_relay_map")("mxmap", client=client, body=body)
    assert (created.name, created.relays[0].host) == ("mxmap", "mx1.example.net")
    refused = await call("relay_maps.get_relay_map")("none", client=client)
    assert isinstance(refused, models.Problem)
    assert (refused.status, refused.code) == (404, "not-found")
    patch = models.RelayMapPatch(description="new")
    patched = await call("relay_maps.patch_relay_map")("mxmap", client=client, body=patch)
    assert (patched.description, patched.policy) == ("new", models.Policy.ROUND_ROBIN)
    listed = await call("relay_maps.list_relay_maps")(client=client)
    assert [each.name for each in listed.items] == ["mxmap"]
    found = await call("questions.get_resolution")(client=client, recipient="a@b.example")
    assert found.outcome == models.Outcome.UNROUTED
    both = [models.Question(recipient="a@b.example"), models.Question(recipient="", client="x")]
    asked = models.QuestionsIn(envelopes=both)
    batch = call("questions.resolve_envelopes")
    unrouted, failed = (await batch(client=client, body=asked)).results
    assert isinstance(unrouted, models.ResolutionOut)
    assert failed.problem.errors[0].pointer == "/client"
    brief = await batch(client=client, body=asked, fields=models.Fields.BRIEF)
    assert isinstance(brief.results[0], models.BriefOut)
    gone = await call("relay_maps.delete_relay_map")("mxmap", client=client)
    assert gone is None
