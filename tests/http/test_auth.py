"""Who may ask: every route below /v1 needs a token, and the scope that its description names."""

from collections.abc import Iterator

import httpx
import pytest

from app.server.api.app import routes_only
from tests.http.conftest import Furnished
from tests.http.samples import bearer, shop

pytestmark = pytest.mark.anyio

DOCUMENT = routes_only().openapi()
ANY_TOKEN = {"get_whoami"}
OF_AGENTS = {"get_wanted", "report_state"}


def operations() -> Iterator[tuple[str, str, dict[str, object]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


BELOW_V1 = [each for each in operations() if each[1].startswith("/v1/")]


def name(each: tuple[str, str, dict[str, object]]) -> str:
    return str(each[2]["operationId"])


def filled(path: str) -> str:
    return path.replace("{n}", "1").replace("{id}", "1").replace("{", "").replace("}", "")


@pytest.mark.parametrize("operation", BELOW_V1, ids=name)
async def test_without_a_token_it_is_401(
    operation: tuple[str, str, dict[str, object]], furnished: Furnished
) -> None:
    api = furnished.api
    method, path, documented = operation
    assert documented["security"] == [{"bearer": []}]
    answer = await api.request(method, filled(path), headers={"Authorization": ""})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="relaymap"'


@pytest.mark.parametrize("operation", BELOW_V1, ids=name)
async def test_without_its_scope_it_is_403(
    operation: tuple[str, str, dict[str, object]], furnished: Furnished
) -> None:
    api = furnished.api
    method, path, documented = operation
    scopes = documented["x-required-scopes"]
    if documented["operationId"] in ANY_TOKEN:
        assert scopes == []
        return
    every = (await api.get("/v1/whoami")).json()["scopes"]
    assert isinstance(scopes, list)
    assert scopes or documented["operationId"] in OF_AGENTS
    others = await bearer(api, *(scope for scope in every if scope not in scopes))
    answer = await api.request(method, filled(path), headers=others)
    assert (answer.status_code, answer.json()["code"]) == (403, "missing-scope"), answer.text
    if scopes:
        assert answer.json()["scope"] in scopes
        assert f'scope="{scopes[0]}"' in answer.headers["WWW-Authenticate"]


def test_what_needs_no_token_is_named() -> None:
    open_ones = {path for _, path, documented in operations() if documented["security"] == []}
    assert open_ones == {"/livez", "/readyz", "/version", "/problems/{code}"}


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer rly_" + "a" * 43,
        "Bearer rly_" + "a" * 42,
        "Bearer rly_" + "a" * 400,
        "Basic cmx5OnJseQ==",
        "rly_" + "a" * 43,
        "Bearer a b",
        "Bearer \u00e4",
    ],
)
async def test_every_wrong_token_is_the_same_401(api: httpx.AsyncClient, header: str) -> None:
    headers = {b"Authorization": header.encode()}
    answer = await api.get("/v1/rules", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert "rly_a" not in answer.text


async def test_two_tokens_are_none(api: httpx.AsyncClient, admin_token: str) -> None:
    headers = [(b"Authorization", f"Bearer {admin_token}".encode())] * 2
    async with httpx.AsyncClient(transport=api._transport, base_url="http://localhost") as bare:
        assert (await bare.get("/v1/rules", headers=headers)).status_code == 401


async def test_the_scheme_is_read_in_any_case(api: httpx.AsyncClient, admin_token: str) -> None:
    headers = {"Authorization": f"bEARER {admin_token}"}
    assert (await api.get("/v1/rules", headers=headers)).status_code == 200


async def test_a_wrong_token_is_told_before_a_wrong_body(api: httpx.AsyncClient) -> None:
    await shop(api)
    for path, body in (("rules/x", {"zork": 1}), ("rules?zork=1", None)):
        headers = {"Authorization": "Bearer wrong"}
        answer = await api.request(
            "PUT" if body else "GET", f"/v1/{path}", json=body, headers=headers
        )
        assert answer.status_code == 401


async def test_a_write_that_is_to_be_pushed_needs_that_scope_too(api: httpx.AsyncClient) -> None:
    await shop(api)
    writer = await bearer(api, "routing:write")
    answer = await api.patch("/v1/rules/shop-out?push=wait", json={}, headers=writer)
    assert (answer.status_code, answer.json()["scope"]) == (403, "push")
