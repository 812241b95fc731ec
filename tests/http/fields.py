"""How a text gets into each free-text field over HTTP, and where its fault is then found."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx

from app.routing.conditions import CONDITIONS
from app.routing.table import TableKey
from tests.http.samples import CREDENTIAL, PLAIN_MAP, RULE, made, shop


@dataclass(frozen=True)
class Sent:
    """One request.

    Attributes:
        at: part of the request and pointer of the fault; None: it is no fault.
    """

    method: str
    path: str
    at: tuple[str, str] | None
    body: object = None
    headers: dict[bytes, bytes] = field(default_factory=dict)

    async def by(self, api: httpx.AsyncClient) -> httpx.Response:
        # A lone surrogate is JSON as the escape that json writes, and no UTF-8.
        content = None if self.body is None else json.dumps(self.body).encode()
        headers = {b"Content-Type": b"application/json"} if content else {}
        return await api.request(
            self.method, f"/v1/{self.path}", content=content, headers=headers | self.headers
        )


Field = Callable[[object], Sent]


def body(method: str, path: str, pointer: str, make: Callable[[object], object]) -> Field:
    return lambda value: Sent(method, path, ("body", pointer), make(value))


def in_path(method: str, prefix: str, name: str, sent: object = None) -> Field:
    def at(value: object) -> Sent:
        text = quote(str(value).encode("utf-8", "surrogatepass"), safe="")
        return Sent(method, prefix + text, ("path", f"/{name}"), sent)

    return at


def rule_with(**members: object) -> dict[str, object]:
    return {**RULE, **members}


def action_with(name: str) -> Callable[[object], object]:
    return lambda value: rule_with(action={"kind": "relay", "via": "mx", name: value})


def match_with(name: str) -> Callable[[object], object]:
    return lambda value: rule_with(match={name: [value]})


def message(value: object) -> Sent:
    header = str(value).encode("utf-8", "surrogatepass")
    at = ("header", "/Relay-Message")
    return Sent("PUT", "relay-maps/new", at, PLAIN_MAP, {b"Relay-Message": header})


def _map(name: str) -> Callable[[object], object]:
    return lambda value: PLAIN_MAP | {name: value}


def _relay(name: str) -> Callable[[object], object]:
    relay = {"name": "r", "url": "smtp://a.example"}  # an IPv6 host makes no name by itself
    return lambda value: {"relays": [relay | {name: value}]}


def _credential(name: str) -> Callable[[object], object]:
    return lambda value: CREDENTIAL | {name: value}


def _question(name: str) -> Callable[[object], object]:
    return lambda value: {"recipient": "joe@example.net"} | {name: value}


PUT_MAP = ("PUT", "relay-maps/new")
PUT_RULE = ("PUT", "rules/new")

FIELDS: dict[str, Field] = {
    "relay_map.name": body("POST", "relay-maps", "/name", _map("name")),
    "path:relay-map name": in_path("PUT", "relay-maps/", "map", PLAIN_MAP),
    "table.name": body("POST", "tables", "/name", lambda v: {"name": v, "key": "sender"}),
    "rule.name": body("POST", "rules", "/name", lambda v: rule_with(name=v)),
    "mta.name": in_path("PUT", "mtas/", "mta", {}),
    "relay.name": body(*PUT_MAP, "/relays/0/name", _relay("name")),
    "relay.url": body(*PUT_MAP, "/relays/0/url", _relay("url")),
    "relay.comment": body(*PUT_MAP, "/relays/0/comment", _relay("comment")),
    "credential.label": in_path("PUT", "credentials/", "label", CREDENTIAL),
    "credential.username": body("PUT", "credentials/new", "/username", _credential("username")),
    "credential.password": body("PUT", "credentials/new", "/password", _credential("password")),
    "credential.host": body(
        "PUT", "credentials/new", "/hosts/0", lambda v: CREDENTIAL | {"hosts": [v]}
    ),
    "relay_map.description": body(*PUT_MAP, "/description", _map("description")),
    "table.description": body(
        "PUT", "tables/new", "/description", lambda v: {"key": "sender", "description": v}
    ),
    "rule.description": body(*PUT_RULE, "/description", lambda v: rule_with(description=v)),
    "mta.description": body("PUT", "mtas/new", "/description", lambda v: {"description": v}),
    "state.reason": body(
        "PUT",
        "relay-maps/mxmap/relays/mx1/state",
        "/reason",
        lambda v: {"state": "out", "reason": v},
    ),
    "token.name": body("POST", "tokens", "/name", lambda v: {"name": v, "scopes": ["resolve"]}),
    "changes.message": body(
        "POST",
        "changes",
        "/message",
        lambda v: {"changes": [{"put": "relay-maps/new", "body": PLAIN_MAP}], "message": v},
    ),
    "header Relay-Message": message,
    **{
        f"rule.match.{name}": body(*PUT_RULE, f"/match/{name}/0", match_with(name))
        for name in CONDITIONS
    },
    **{
        f"rule.action.{name}": body(*PUT_RULE, f"/action/{name}", action_with(name))
        for name in ("via", "mail_from", "helo", "certificate", "ca")
    },
    "rule.action.message": body(
        *PUT_RULE, "/action/message", lambda v: rule_with(action={"kind": "reject", "message": v})
    ),
    "rule.action.sources": body(
        *PUT_RULE,
        "/action/sources/0",
        lambda v: rule_with(action={"kind": "relay", "via": "mx", "sources": [v]}),
    ),
    "entry.via": body("PUT", "tables/t-sender/entries/a.example", "/via", lambda v: {"via": v}),
    "table.default": body(
        "PUT", "tables/new", "/default", lambda v: {"key": "sender", "default": v}
    ),
    **{
        f"entry.key {kind.value}": in_path(
            "PUT", f"tables/t-{kind.value}/entries/", "key", {"via": "mx"}
        )
        for kind in TableKey
    },
    **{
        f"envelope.{name}": body("POST", "resolve", f"/{name}", _question(name))
        for name in ("sender", "recipient", "client", "helo", "auth_user", "tag")
    },
}


async def furnish(api: httpx.AsyncClient) -> None:
    """Everything that the requests above lean on."""
    await shop(api)
    for kind in TableKey:
        await made(api, f"tables/t-{kind.value}", {"key": kind.value})


def echoes(value: object, answer: httpx.Response) -> bool:
    """Whether an answer holds what was sent, as it is or as JSON writes it.

    Shorter texts than eight characters are parts of sentences: "smtp://", "local".
    """
    text = str(value)
    if len(text) < 8:
        return False
    said = answer.text + " ".join(answer.headers.values())
    return any(
        form in said
        for form in (text, json.dumps(text)[1:-1], quote(text, safe="", errors="replace"))
    )
