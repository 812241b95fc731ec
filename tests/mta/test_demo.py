"""`make demo` tells the truth, ends well, and leaves nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# What the sinks a, b and c took, each time that mail was sent.
COUNTS = [(30, 30, 30), (45, 0, 45), (45, 0, 45), (45, 0, 45), (45, 0, 45), (30, 30, 30)]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_demonstration_tells_what_it_is_for():
    done = subprocess.run(
        [sys.executable, "scripts/demo"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    took = re.findall(r"sinks took a (\d+), b (\d+), c (\d+)", done.stdout)
    assert [tuple(map(int, counts)) for counts in took] == COUNTS
    endings = re.findall(r"mx-out-1 (applied by [a-z-]+|refused)", done.stdout)
    assert endings == [
        "applied by restart",
        "applied by table-update",
        "applied by restart",
        "refused",
        "applied by restart",
        "applied by table-update",
    ]
    assert "failed to load CA file" in done.stdout
    assert not list(Path("/run").glob("bed*"))
