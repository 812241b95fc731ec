"""The routes: one file a resource, `ROUTERS` the one list.

A new file of routes is added to the list, and nowhere else.
"""

from fastapi import APIRouter

LONG_POLLS = frozenset({"/v1/agent/wanted"})
"""Paths whose GET waits; they have no HEAD."""

ROUTERS: tuple[APIRouter, ...] = ()
"""In the order in which a path is looked for: the busiest first."""
