"""Runs every figure and prints it: `python -m bench [NAME …]`."""

import sys
from collections.abc import Callable, Mapping

from bench import patch_to_delta, patch_to_resolver, push_to_mta, resolve_http, resolve_in_process
from bench.rounds import Figure

FIGURES: Mapping[str, Callable[[], Figure]] = {
    "resolve-in-process": resolve_in_process.measure,
    "resolve-http": resolve_http.measure,
    "patch-to-resolver": patch_to_resolver.measure,
    "patch-to-delta": patch_to_delta.measure,
    "push-to-mta": push_to_mta.measure,
}


def main() -> None:
    """Measure what is named, or everything."""
    for name in sys.argv[1:] or FIGURES:
        for line in FIGURES[name]().lines():
            print(line, flush=True)
        print(flush=True)


if __name__ == "__main__":
    main()
