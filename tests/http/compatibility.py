"""What a new OpenAPI document takes away from callers of an old one."""

from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]
_NARROWER = {
    "maximum": -1,
    "maxLength": -1,
    "maxItems": -1,
    "minimum": 1,
    "minLength": 1,
    "minItems": 1,
}
"""Bounds that refuse what was taken, and the direction in which they do."""


def broken_promises(old: Json, new: Json) -> list[str]:
    """Everything that could break a caller; empty where nothing does."""
    return [*_operations(old, new), *_schemas(old, new)]


def _operations(old: Json, new: Json) -> Iterator[str]:
    for path, item in old["paths"].items():
        for method, before in item.items():
            where = f"{method.upper()} {path}"
            after = new["paths"].get(path, {}).get(method)
            if after is None:
                yield f"{where} is gone"
                continue
            if before["operationId"] != after["operationId"]:
                yield f"{where} has another operation id"
            if set(after.get("x-required-scopes", ())) - set(before.get("x-required-scopes", ())):
                yield f"{where} needs another scope"
            yield from _parameters(where, before, after)
            yield from _bodies(where, before, after)
            yield from _answers(where, before, after)


def _parameters(where: str, before: Json, after: Json) -> Iterator[str]:
    known = {(p["in"], p["name"]): p for p in before.get("parameters", ())}
    now = {(p["in"], p["name"]): p for p in after.get("parameters", ())}
    for key in known.keys() - now.keys():
        yield f"{where} no longer takes {key[1]}"
    for key, parameter in now.items():
        if parameter["required"] and not known.get(key, {}).get("required"):
            yield f"{where} now needs {key[1]}"
        if key in known:
            yield from _narrowed(f"{where} {key[1]}", known[key]["schema"], parameter["schema"])


def _bodies(where: str, before: Json, after: Json) -> Iterator[str]:
    known, now = before.get("requestBody", {}), after.get("requestBody", {})
    for media_type in known.get("content", {}).keys() - now.get("content", {}).keys():
        yield f"{where} no longer takes {media_type}"
    if now.get("required") and not known.get("required"):
        yield f"{where} now needs a body"


def _answers(where: str, before: Json, after: Json) -> Iterator[str]:
    for status, answer in before["responses"].items():
        now = after["responses"].get(status)
        if now is None:
            yield f"{where} no longer answers {status}"
            continue
        for media_type in answer.get("content", {}).keys() - now.get("content", {}).keys():
            yield f"{where} {status} is no longer {media_type}"


def _schemas(old: Json, new: Json) -> Iterator[str]:
    for name, before in old["components"]["schemas"].items():
        after = new["components"]["schemas"].get(name)
        if after is None:
            yield f"{name} is gone"
        else:
            yield from _schema(name, before, after)


def _schema(name: str, before: Json, after: Json) -> Iterator[str]:
    taken = "additionalProperties" in before  # what is sent; answers may grow
    known, now = before.get("properties", {}), after.get("properties", {})
    needed, needs = set(before.get("required", ())), set(after.get("required", ()))
    for member in known.keys() - now.keys():
        yield f"{name}.{member} is gone"
    for member in (needs - needed) if taken else ():
        yield f"{name} now needs {member}"
    for member in () if taken else (needed - needs):
        yield f"{name} no longer always has {member}"
    for value in set(before.get("enum", ())) - set(after.get("enum", ())):
        yield f"{name} no longer has {value}"
    for member in known.keys() & now.keys():
        yield from _changed(f"{name}.{member}", known[member], now[member], taken=taken)


def _changed(where: str, before: Json, after: Json, *, taken: bool) -> Iterator[str]:
    lost = _types(before) - _types(after)
    more = _types(after) - _types(before)
    if taken and lost:
        yield f"{where} no longer takes {', '.join(sorted(lost))}"
    if not taken and more:
        yield f"{where} may now be {', '.join(sorted(more))}"
    if taken:
        yield from _narrowed(where, before, after)


def _types(schema: Json) -> set[str]:
    variants = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return {str(each.get("$ref") or each.get("type") or "any") for each in variants}


def _narrowed(where: str, before: Json, after: Json) -> Iterator[str]:
    for bound, direction in _NARROWER.items():
        if bound in after and (after[bound] - before.get(bound, after[bound])) * direction > 0:
            yield f"{where} has a narrower {bound}"
        if bound in after and bound not in before:
            yield f"{where} now has a {bound}"
    if "pattern" in after and after["pattern"] != before.get("pattern"):
        yield f"{where} has another pattern"
