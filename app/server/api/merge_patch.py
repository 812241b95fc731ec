"""JSON merge patch (RFC 7396)."""

from collections.abc import Mapping

from pydantic import JsonValue


def merged(target: JsonValue, patch: JsonValue) -> JsonValue:
    """`target` with `patch` applied: members named are replaced, null removes, lists are whole.

    Where both have a `kind` and it differs, `target` is another variant and is dropped first.
    """
    if not isinstance(patch, dict):
        return patch
    kept: Mapping[str, JsonValue] = target if isinstance(target, dict) else {}
    if "kind" in patch and "kind" in kept and patch["kind"] != kept["kind"]:
        kept = {}
    result = dict(kept)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(kept.get(name), value)
    return result
