"""The HTTP API, version 1: schemas at the edge, a dozen lines a route, no rule of routing."""
