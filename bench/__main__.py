"""Runs every figure and prints it: `python -m bench [NAME …]`."""

import sys
from collections.abc import Callable, Mapping

from bench import (
    build_live_file,
    look_up,
    look_up_file_table,
    maps,
    patch_to_delta,
    patch_to_resolver,
    push_live,
    push_to_mta,
    resolve_http,
    resolve_in_process,
    start,
    walk,
    walk_patterns,
)
from bench.rounds import Figure

FIGURES: Mapping[str, Callable[[], Figure]] = {
    "resolve-in-process": resolve_in_process.measure,
    "resolve-http": resolve_http.measure,
    "patch-to-resolver": patch_to_resolver.measure,
    "patch-to-delta": patch_to_delta.measure,
    "push-to-mta": push_to_mta.measure,
    "push-live": push_live.measure,
    "walk": walk.measure,
    "walk-patterns": walk_patterns.measure,
    "look-up": look_up.measure,
    "look-up-file-table": look_up_file_table.measure,
    "start": start.measure,
    "maps": maps.measure,
    "build-live-file": build_live_file.measure,
}


def main() -> None:
    """Measure what is named, or everything."""
    for name in sys.argv[1:] or FIGURES:
        for line in FIGURES[name]().lines():
            print(line, flush=True)
        print(flush=True)


if __name__ == "__main__":
    main()
