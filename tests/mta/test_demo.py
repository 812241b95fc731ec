"""`make demo` tells the truth, ends well, and leaves nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# The weights of the relays, each time that their shares are counted.
WEIGHTS = ["1:1:2", "3:1:1", "3:1:1", "0:1:1", "0:1:1", "0:1:2"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demonstration_tells_what_it_is_for():
    done = subprocess.run(
        [sys.executable, "scripts/demo"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shares = re.findall(
        r"of (\d+) messages: a (\d+), b (\d+), c (\d+), d (\d+); the weights are ([\d:]+)",
        done.stdout,
    )
    assert [each[-1] for each in shares] == WEIGHTS
    for total, *fell, _ in shares:
        assert sum(map(int, fell)) == int(total) > 0
    endings = re.findall(r"mx-out-1 (applied|refused), reload ([a-z-]+)", done.stdout)
    assert endings == [
        ("applied", "restart"),
        ("applied", "live"),
        ("applied", "live"),
        ("applied", "live"),
        ("applied", "live"),
        ("refused", "none"),
        ("applied", "live"),
    ]
    turns = re.findall(r"the agent says that b is (up|down)", done.stdout)
    assert turns == ["down", "up"]
    assert "b is down as mx-out-1 sees it, and why: refused" in done.stdout
    assert "safe to delete: not yet" in done.stdout
    assert "failed to load CA file" in done.stdout
    assert "none was refused, and all have arrived" in done.stdout
    first, last = re.findall(r"smtpd is processes ([\d, ]+\d)", done.stdout)
    assert first == last
    assert not list(Path("/run").glob("bed*"))
