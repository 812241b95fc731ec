"""Credentials over HTTP: passwords go in and never out."""

import httpx
import pytest

from app.server.api.services import Services
from tests.http.samples import CREDENTIAL, bearer, head, made, pointers, shop

pytestmark = pytest.mark.anyio

URL = "/v1/credentials/acct"


async def secret(services: Services) -> tuple[str, str]:
    (stored,) = await services.store.secrets(["acct"])
    return stored.username, stored.password


async def test_a_credential_is_stored_and_answered_without_its_password(
    api: httpx.AsyncClient, services: Services
) -> None:
    created = await api.put(URL, json=CREDENTIAL)
    assert (created.status_code, created.headers["Location"]) == (201, URL)
    assert created.json()["hosts"] == CREDENTIAL["hosts"]
    assert created.json()["username"] == CREDENTIAL["username"]
    assert "password" not in created.json()
    assert await secret(services) == (CREDENTIAL["username"], CREDENTIAL["password"])
    for path in (URL, "/v1/credentials"):
        assert str(CREDENTIAL["password"]) not in (await api.get(path)).text


async def test_an_answer_can_be_sent_back_and_keeps_the_password(
    api: httpx.AsyncClient, services: Services
) -> None:
    answer = (await made(api, "credentials/acct", CREDENTIAL)).json()
    again = await api.put(URL, json=answer)
    assert (again.status_code, again.headers["Relay-Changed"]) == (200, "false")
    wider = await api.put(URL, json=answer | {"hosts": ["*.example"]})
    assert (wider.headers["Relay-Changed"], wider.json()["revision"]) == ("true", 2)
    assert await secret(services) == (CREDENTIAL["username"], CREDENTIAL["password"])


async def test_the_same_password_again_is_no_change(api: httpx.AsyncClient) -> None:
    await made(api, "credentials/acct", CREDENTIAL)
    assert (await api.put(URL, json=CREDENTIAL)).headers["Relay-Changed"] == "false"
    changed = await api.put(URL, json=CREDENTIAL | {"password": "another"})
    assert (changed.headers["Relay-Changed"], changed.json()["revision"]) == ("true", 2)


async def test_a_new_label_or_username_needs_a_password(
    api: httpx.AsyncClient, services: Services
) -> None:
    without = {name: value for name, value in CREDENTIAL.items() if name != "password"}
    assert pointers(await api.put(URL, json=without)) == [("body", "/password", "missing")]
    await made(api, "credentials/acct", CREDENTIAL)
    other = without | {"username": "other"}
    assert pointers(await api.put(URL, json=other)) == [("body", "/password", "missing")]
    assert await secret(services) == (CREDENTIAL["username"], CREDENTIAL["password"])


@pytest.mark.parametrize(
    ("member", "value", "pointer", "code"),
    [
        ("hosts", [], "/hosts", "bad-list"),
        ("hosts", ["a.example"] * 101, "/hosts", "bad-list"),
        ("hosts", None, "/hosts", "bad-type"),
        ("hosts", ["http://a"], "/hosts/0", "bad-host"),
        ("allow_unverified", 1, "/allow_unverified", "bad-type"),
        ("username", 7, "/username", "bad-type"),
        ("password", None, "/password", "bad-type"),
        ("secret", "x", "", "unknown-member"),
    ],
)
async def test_what_is_no_credential_is_refused(
    api: httpx.AsyncClient, member: str, value: object, pointer: str, code: str
) -> None:
    answer = await api.put(URL, json=CREDENTIAL | {member: value})
    assert pointers(answer) == [("body", pointer, code)]
    assert str(CREDENTIAL["password"]) not in answer.text
    assert await head(api) == 0


async def test_hosts_are_needed(api: httpx.AsyncClient) -> None:
    body = {"username": "u", "password": "p"}
    assert pointers(await api.put(URL, json=body)) == [("body", "/hosts", "missing")]


async def test_who_uses_a_credential(api: httpx.AsyncClient) -> None:
    await shop(api)
    assert (await api.get(f"{URL}/uses")).json() == {
        "items": ["relay-maps/mxmap"],
        "next_cursor": None,
    }
    assert (await api.get("/v1/credentials/none/uses")).status_code == 404
    assert (await api.delete(URL)).json()["users"] == ["relay-maps/mxmap"]


async def test_a_host_in_use_cannot_be_taken_away(api: httpx.AsyncClient) -> None:
    await shop(api)
    answer = await api.put(URL, json=CREDENTIAL | {"hosts": ["elsewhere.example"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "credential-not-for-host")


async def test_an_unused_credential_is_deleted(api: httpx.AsyncClient) -> None:
    await made(api, "credentials/acct", CREDENTIAL)
    assert (await api.delete(URL)).status_code == 204
    assert (await api.get(URL)).status_code == 404


async def test_only_its_own_scope_writes_credentials(api: httpx.AsyncClient) -> None:
    await made(api, "credentials/acct", CREDENTIAL)
    writer = await bearer(api, "routing:write", "routing:read", "operate", "push", "mtas:write")
    for method, body in (("PUT", CREDENTIAL), ("DELETE", None)):
        answer = await api.request(method, URL, json=body, headers=writer)
        assert (answer.status_code, answer.json()["scope"]) == (403, "credentials:write")
    change = {"changes": [{"put": "credentials/acct", "body": CREDENTIAL}]}
    answer = await api.post("/v1/changes", json=change, headers=writer)
    assert pointers(answer) == [("body", "/changes/0/put", "bad-target")]
    assert (await api.get(URL, headers=writer)).status_code == 200


async def test_a_password_is_not_used_where_nobody_checks_certificates(
    api: httpx.AsyncClient,
) -> None:
    await shop(api)
    action = {"action": {"kind": "relay", "via": "map:mxmap", "tls_verify": False}}
    answer = await api.patch("/v1/rules/shop-out", json=action)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "credential-needs-verify"
    await made(api, "credentials/acct", CREDENTIAL | {"allow_unverified": True})
    assert (await api.patch("/v1/rules/shop-out", json=action)).status_code == 200


async def test_hosts_that_are_taken_away_are_refused_with_where_they_are_used(
    api: httpx.AsyncClient,
) -> None:
    await shop(api)
    answer = await api.put(URL, json=CREDENTIAL | {"hosts": ["other.example"]})
    assert pointers(answer) == [("body", "", "credential-not-for-host")]
    assert "relay-maps/mxmap" in answer.json()["errors"][0]["detail"]
