"""What a server would want of an agent: models and their digests, made from short descriptions."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.routing.model import model_digest, read_model
from tests.unit.routing.making import model_document

HISTORY = "h-test"


def relay_map(name: str, *urls: str) -> dict[str, Any]:
    """A relay map of some URLs."""
    return {"name": name, "relays": [{"name": f"r{n}", "url": url} for n, url in enumerate(urls)]}


def rule(number: int, via: str, domain: str | None = None, **action: Any) -> dict[str, Any]:
    """A rule for one recipient domain, or for all, from anywhere."""
    match: dict[str, Any] = {"clients": ["any"]}
    if domain is not None:
        match["recipients"] = [domain]
    return {
        "id": f"r{number}",
        "name": f"rule-{number}",
        "priority": number,
        "match": match,
        "open_relay": domain is None,
        "action": {"kind": "relay", "via": via, **action},
    }


def keyed_table(
    name: str, key: str, entries: Mapping[str, str], default: str | None = None
) -> dict[str, Any]:
    """A table of some entries."""
    pairs = [[entry, via] for entry, via in sorted(entries.items())]
    return {"name": name, "description": "", "key": key, "default": default, "entries": pairs}


def wanted(
    revision: int,
    rules: Sequence[Mapping[str, Any]] = (),
    maps: Sequence[Mapping[str, Any]] = (),
    *,
    push: int | None = None,
    history: str = HISTORY,
    credentials: Sequence[Mapping[str, Any]] = (),
    secrets: Sequence[Mapping[str, Any]] = (),
    out: Sequence[tuple[str, str]] = (),
    tables: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What the server would answer; the push has the number of the revision unless told."""
    table = read_model(
        {
            "relay_maps": list(maps),
            "out": [list(each) for each in out],
            "tables": list(tables),
            "rules": list(rules),
            "credentials": list(credentials),
        },
        revision,
    )
    return {
        "push": revision if push is None else push,
        "history": history,
        "revision": revision,
        "model_digest": model_digest(table),
        "model": model_document(table),
        "secrets": list(secrets),
    }
