"""Runs one target for some seconds: `python -m fuzz TARGET SECONDS`; without one, names them."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["app"]):
    from fuzz.targets import TARGETS

_CORPUS = Path("var/fuzz")
"""What was found to reach something new; kept for the next run, in no commit."""


def main() -> None:
    """Run a target; libFuzzer ends the process, with its own code where it found something."""
    if len(sys.argv) != 3:
        print(*TARGETS)
        return
    name, seconds = sys.argv[1:]
    corpus = _CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as where:
        options = [f"-max_total_time={int(seconds)}", "-max_len=20000", "-rss_limit_mb=1024"]
        found = f"-artifact_prefix={corpus}-"
        atheris.Setup(
            ["fuzz", *options, "-timeout=10", found, str(corpus)], TARGETS[name](Path(where))
        )
        atheris.Fuzz()


main()
