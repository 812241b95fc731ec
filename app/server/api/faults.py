"""Where in a request each fault is: pydantic's errors as codes, sentences and RFC 6901 pointers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.routing.errors import Fault

Where = Literal["body", "query", "path", "header"]

_WORDS: dict[str, tuple[str, str]] = {
    "missing": ("missing", "this is needed"),
    "extra_forbidden": ("unknown-member", "a member of this object is not known here"),
    "string_type": ("bad-type", "a text is wanted here"),
    "int_type": ("bad-type", "a whole number is wanted here"),
    "int_parsing": ("bad-type", "a whole number is wanted here"),
    "bool_type": ("bad-type", "true or false is wanted here"),
    "list_type": ("bad-type", "a list is wanted here"),
    "dict_type": ("bad-type", "a JSON object is wanted here"),
    "model_type": ("bad-type", "a JSON object is wanted here"),
    "model_attributes_type": ("bad-type", "a JSON object is wanted here"),
    "string_unicode": ("bad-text", "the text holds a lone surrogate, which is no character"),
    "union_tag_not_found": ("missing", "the kind is needed"),
    "union_tag_invalid": ("bad-choice", "this kind is not known"),
}
_SAFE_WORDS: dict[str, str] = {
    "enum": "bad-choice",
    "literal_error": "bad-choice",
    "greater_than_equal": "out-of-range",
    "less_than_equal": "out-of-range",
    "string_too_short": "bad-text",
    "string_too_long": "bad-text",
}
"""Pydantic's own sentence says what is wanted, and never what was sent."""

_NO_FAULTS_OF_OURS = frozenset({"missing_sentinel_error"})
_WHERE: Mapping[str, Where] = {"body": "body", "query": "query", "path": "path", "header": "header"}


@dataclass(frozen=True, slots=True)
class At:
    """A fault and the part of the request that it is in."""

    where: Where
    fault: Fault

    def document(self) -> dict[str, str]:
        """As `errors` of a problem lists it."""
        return {
            "in": self.where,
            "pointer": self.fault.pointer,
            "detail": self.fault.detail,
            "code": self.fault.code,
        }


def of_validation(found: Iterable[Any], body: object) -> tuple[At, ...]:
    """Every fault of pydantic's errors, once; `body` is what was sent, to point into."""
    faults = (_fault(error, body) for error in found if error["type"] not in _NO_FAULTS_OF_OURS)
    return tuple(dict.fromkeys(faults))


def _fault(error: Mapping[str, Any], body: object) -> At:
    where, *path = error["loc"] or ("body",)
    kind: str = error["type"]
    if kind in _WORDS:
        code, detail = _WORDS[kind]
    elif kind in _SAFE_WORDS:
        code, detail = _SAFE_WORDS[kind], f"{error['msg'][0].lower()}{error['msg'][1:]}"
    elif kind in {"too_short", "too_long"}:
        code, detail = "bad-list", _size_wanted(error)
    elif "-" in kind or kind == "missing":  # ours, made of a Refused
        code, detail = kind, error["msg"]
    else:
        code, detail = "bad-value", "this is not what is wanted here"
    parts = list(_parts(path, body, kind)) if where == "body" else [str(part) for part in path]
    if kind == "extra_forbidden":
        parts = parts[:-1]  # the name of an unknown member is not echoed
    return At(_WHERE.get(str(where), "body"), Fault(code, detail, pointer(parts)))


def _size_wanted(error: Mapping[str, Any]) -> str:
    bounds = error.get("ctx", {})
    if error["type"] == "too_short":
        return f"a list of at least {bounds.get('min_length', 1)} is wanted here"
    return f"a list of at most {bounds.get('max_length', 'so many')} is wanted here"


def _parts(path: Sequence[str | int], body: object, kind: str) -> Iterator[str]:
    """The members on the way; what pydantic puts between them (names of variants) is left out."""
    here = body
    for position, part in enumerate(path):
        try:
            here = here[part]  # type: ignore[index]  # what cannot be indexed is caught below
        except (KeyError, IndexError, TypeError):
            if kind != "missing" or position != len(path) - 1:
                continue
        yield str(part)


def pointer(parts: Iterable[str]) -> str:
    """RFC 6901: each part after a slash, `~` and `/` escaped."""
    return "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in parts)
