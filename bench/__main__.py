"""Runs figures, prints them, and writes what all of them said: `python -m bench [NAME …]`.

Each figure runs in a process of its own: none meets the heap, or the end, of another one. With
CHECK=1 in the environment a limit that is missed, or a figure that came to nothing, ends it with 1.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from bench.results import FOLDER, write
from bench.rounds import Figure

FIGURES: Mapping[str, str] = {
    "resolve-in-process": "bench.resolve_in_process",
    "resolve-http": "bench.resolve_http",
    "resolve-batch": "bench.resolve_batch",
    "cli-resolve": "bench.cli_resolve",
    "one-entry": "bench.one_entry",
    "entry-to-resolver": "bench.entry_to_resolver",
    "patch-to-resolver": "bench.patch_to_resolver",
    "patch-to-delta": "bench.patch_to_delta",
    "push-to-mta": "bench.push_to_mta",
    "push-live": "bench.push_live",
    "walk": "bench.walk",
    "walk-patterns": "bench.walk_patterns",
    "look-up": "bench.look_up",
    "look-up-file-table": "bench.look_up_file_table",
    "start": "bench.start",
    "maps": "bench.maps",
    "build-live-file": "bench.build_live_file",
    "import-entries": "bench.import_entries",
    "start-server": "bench.start_server",
    "stalls": "bench.stalls",
}
"""The module of each figure: its `measure` answers with one `Figure`, or several."""


def main() -> int:
    """Measure what is named, or everything; with everything, write the results down."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="measure one here, and write it")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in FIGURES]:
        parser.error(f"there is no figure {unknown[0]}")
    if given.json is not None:
        _measure(given.names[0], given.json)
        return 0
    found = {name: _apart(name) for name in given.names or FIGURES}
    if not given.names:
        write(found)
        print(f"wrote RESULTS.md and RESULTS.json in {FOLDER}")
    missed = [name for name, said in found.items() if not _met(said)]
    if missed:
        print(f"past a limit, or not measured: {', '.join(missed)}")
    return int(bool(missed) and os.environ.get("CHECK") == "1")


def _measure(name: str, file: Path) -> None:
    found: Figure | Sequence[Figure] = import_module(FIGURES[name]).measure()
    figures = [found] if isinstance(found, Figure) else list(found)
    for figure in figures:
        print("\n".join(figure.lines()), flush=True)
    print(flush=True)
    file.write_text(json.dumps([figure.document() for figure in figures]), "utf-8")


def _apart(name: str) -> Sequence[Mapping[str, object]]:
    """The documents of a figure, measured in another process; none where that came to nothing."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "figure.json")
        command = [sys.executable, "-m", "bench", name, "--json", str(file)]
        if subprocess.run(command, check=False).returncode:
            print(f"{name}: not measured\n", flush=True)
            return ()
        documents: Sequence[Mapping[str, object]] = json.loads(file.read_text("utf-8"))
        return documents


def _met(documents: Sequence[Mapping[str, object]]) -> bool:
    return bool(documents) and all(document["met"] for document in documents)


if __name__ == "__main__":
    sys.exit(main())
