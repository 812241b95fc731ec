"""The OpenAPI document: what FastAPI makes, put into the form that generated clients need."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from app.server.api.schemas.many import FailedOut, QuestionsIn
from app.server.api.schemas.model import Model
from app.server.api.schemas.relay_map import RelayList
from app.server.api.schemas.table_import import EntryList, EntryRow

Json = dict[str, Any]

TAGS: list[Json] = [
    {"name": "relay maps", "description": "Named pools of relays under one policy."},
    {"name": "tables", "description": "Next hops looked up by one key of the envelope."},
    {"name": "rules", "description": "Conditions and what to do with what meets them."},
    {"name": "credentials", "description": "Logins for relays. Passwords go in and never out."},
    {"name": "changes", "description": "Many writes as one."},
    {"name": "questions", "description": "Where an envelope would go, and what things mean."},
    {"name": "mtas", "description": "The mail servers that routing is pushed to."},
    {"name": "pushes", "description": "Making MTAs serve the routing."},
    {"name": "revisions", "description": "Who changed what, and the way back."},
    {"name": "tokens", "description": "Who may do what."},
    {"name": "agents", "description": "What the agents beside the MTAs ask and say."},
    {"name": "server", "description": "Health, version, metrics and documentation."},
]

_METHODS = ("get", "put", "post", "patch", "delete")

_PROBLEM: Json = {
    "type": "object",
    "title": "Problem",
    "description": "What went wrong (RFC 9457). Some codes have further members.",
    "required": [
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "request_id",
        "errors",
    ],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "A page about it."},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What is wrong and what to do, in words."},
        "instance": {"type": "string", "format": "uri-reference"},
        "code": {"type": "string", "description": "Stable, kebab-case, for programs."},
        "request_id": {"type": "string", "description": "Find it in the server's log."},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/ProblemError"}},
    },
}
_PROBLEM_ERROR: Json = {
    "type": "object",
    "title": "ProblemError",
    "description": "One thing found, and where.",
    "required": ["in", "pointer", "detail", "code"],
    "properties": {
        "in": {"type": "string", "description": "body, query, path or header."},
        "pointer": {"type": "string", "description": "RFC 6901, into that part."},
        "detail": {"type": "string"},
        "code": {"type": "string"},
    },
}


_REPORT: Json = {
    "agent": "5d0c7f7a3a514b0e",
    "state": "live",
    "observed": None,
    "version": "7.8.0",
    "addresses": ["192.0.2.1"],
}

_READ_BY_HAND = (RelayList, QuestionsIn, EntryRow, EntryList)
"""Bodies that a route reads itself, since it takes something else than JSON too."""


def document(app: FastAPI, made: Json) -> Json:
    """FastAPI's document, sorted, with problems, scopes, and no titles on properties."""
    schemas: Json = made.setdefault("components", {}).get("schemas", {})
    schemas |= {"Problem": _PROBLEM, "ProblemError": _PROBLEM_ERROR}
    for model in _READ_BY_HAND:
        made_of = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = made_of.pop("$defs", {}) | schemas
        schemas[model.__name__] = made_of
    # The schema of problems is written by hand, so no model can refer to it.
    in_answer: Json = schemas[FailedOut.__name__]["properties"]["problem"]
    schemas[FailedOut.__name__]["properties"]["problem"] = {
        "$ref": "#/components/schemas/Problem",
        "description": in_answer["description"],
    }
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for name, schema in schemas.items():
        _finish_schema(name, schema)
    for route in _api_routes(app):
        for method in route.methods or ():
            operation = made["paths"].get(route.path_format, {}).get(method.lower())
            if operation is not None:
                _finish(operation, route)
    made["components"]["schemas"] = dict(sorted(schemas.items()))
    made["paths"] = dict(sorted(made["paths"].items()))
    return made


def _finish_schema(name: str, schema: Json) -> None:
    for member in schema.get("properties", {}).values():
        member.pop("title", None)
    example = _examples().get(name)
    if example is not None:
        schema["examples"] = [example]


@cache
def _examples() -> Mapping[str, object]:
    """By schema: FastAPI leaves out of examples what is null, and null means something."""
    return {"Report": _REPORT} | {model.__name__: model.EXAMPLE for model in models_of(Model)}


def models_of(model: type[Model]) -> Iterator[type[Model]]:
    """Every model below one."""
    for each in model.__subclasses__():
        yield each
        yield from models_of(each)


def _api_routes(app: FastAPI) -> Iterator[APIRoute]:
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            yield context.original_route


def _finish(operation: Json, route: APIRoute) -> None:
    _say_scopes(operation, route)
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])
        if parameter["name"] == "If-None-Match" and route.methods == {"GET"}:
            operation["responses"]["304"] = {"description": "It is still what the caller has"}
    body = operation.get("requestBody", {}).get("content", {})
    if "application/merge-patch+json" in body:
        body["application/json"] = body["application/merge-patch+json"]
    answers = (answer.get("content", {}) for answer in operation["responses"].values())
    for contents in (body, *answers):
        for media in contents.values():
            media.get("schema", {}).pop("title", None)


def _say_scopes(operation: Json, route: APIRoute) -> None:
    if not operation.get("security"):
        operation["security"] = []
        return
    operation["security"] = [{"bearer": []}]
    scopes = operation.setdefault("x-required-scopes", sorted(_scopes(route.dependant)))
    description = operation.get("description", "").rstrip()
    if "\n\nScope: " not in description:  # what is said there is not this plain
        needed = ", ".join(f"`{scope}`" for scope in scopes) or "any token"
        description = f"{description}\n\nScope: {needed}"
    operation["description"] = description


def _without_null(schema: Json) -> Json:
    """The schema of a parameter: one that may be left out is never null."""
    schema.pop("title", None)
    variants = [each for each in schema.pop("anyOf", ()) if each != {"type": "null"}]
    if len(variants) > 1:
        schema["anyOf"] = variants
    elif variants:
        schema = {**variants[0], **schema}
    schema.pop("description", None)
    return schema


def _scopes(dependant: Dependant) -> set[str]:
    own = set(dependant.own_oauth_scopes or ())
    return own.union(*(_scopes(inner) for inner in dependant.dependencies))
