"""Bodies that the tests of routing send, and small steps that they share."""

import httpx

CREDENTIAL: dict[str, object] = {
    "username": "shop@provider.example",
    "password": "correct horse battery staple",
    "hosts": ["mx1.example.net", "*.provider.example"],
}
RELAY_MAP: dict[str, object] = {
    "policy": "ratio",
    "relays": [
        {"name": "mx1", "url": "tls+auth://acct@mx1.example.net:587", "weight": 3},
        {"name": "mx2", "url": "smtps://mx2.example.net"},
    ],
}
PLAIN_MAP: dict[str, object] = {
    "relays": [{"url": "smtp://a.example"}, {"url": "smtp://b.example"}]
}
RULE: dict[str, object] = {
    "match": {"senders": ["shop.example"]},
    "action": {"kind": "relay", "via": "map:mxmap"},
}
TABLE: dict[str, object] = {"key": "recipient-domain", "default": "map:mxmap"}


async def made(api: httpx.AsyncClient, path: str, body: object) -> httpx.Response:
    """PUT something that must be taken."""
    answer = await api.put(f"/v1/{path}", json=body)
    assert answer.status_code in {200, 201}, answer.text
    return answer


async def shop(api: httpx.AsyncClient) -> None:
    """A credential, a map that uses it, and a rule that uses the map."""
    await made(api, "credentials/acct", CREDENTIAL)
    await made(api, "relay-maps/mxmap", RELAY_MAP)
    await made(api, "rules/shop-out", RULE)


async def bearer(api: httpx.AsyncClient, *scopes: str) -> dict[str, str]:
    """The header of a new token with these scopes."""
    answer = await api.post("/v1/tokens", json={"name": "test", "scopes": scopes})
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def head(api: httpx.AsyncClient) -> int:
    """The head revision."""
    return int((await api.get("/readyz")).json()["revision"])


def pointers(answer: httpx.Response) -> list[tuple[str, str, str]]:
    """Where each fault of a problem is, and its code."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    return [(e["in"], e["pointer"], e["code"]) for e in answer.json()["errors"]]
