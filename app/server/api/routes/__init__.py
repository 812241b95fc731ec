"""The routes: one file a resource, `ROUTERS` the one list.

A new file of routes is added to the list, and nowhere else.
"""

import re

from fastapi import APIRouter

from app.server.api.routes import (
    agents,
    changes,
    credentials,
    docs,
    entries,
    findings,
    health,
    imports,
    metrics,
    mtas,
    problem_pages,
    pushes,
    relay_health,
    relay_maps,
    relay_url,
    relays,
    resolve,
    resolve_batch,
    revisions,
    rules,
    table_exports,
    table_imports,
    tables,
    tokens,
)

LONG_POLLS = frozenset({"/v1/agent/wanted"})
"""Paths whose GET waits; they have no HEAD."""

STREAMS = re.compile(r"/v1/resolve/batch")
"""Paths that take bodies of any length, where these are not JSON, and read them as they come."""

UPLOADS = re.compile(r"/v1/tables/[^/]+/import")
"""Paths whose POST takes a body of any length and of any of its types, and reads it as it comes."""

ROUTERS: tuple[APIRouter, ...] = (
    resolve.router,
    resolve_batch.router,
    relay_maps.router,
    relays.router,
    relay_health.router,
    imports.router,
    tables.router,
    entries.router,
    table_imports.router,
    table_exports.router,
    rules.router,
    credentials.router,
    changes.router,
    relay_url.router,
    findings.router,
    agents.router,
    pushes.router,
    mtas.router,
    revisions.router,
    tokens.router,
    health.router,
    metrics.router,
    docs.router,
    problem_pages.router,
)
"""In the order in which a path is looked for: the busiest first."""
