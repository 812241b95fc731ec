"""make demo: a server, an agent, a real smtpd and its relays on a machine of their own.

Each step prints its HTTP calls, their answers, and what the relays took, a line a second. Nothing
of this machine is touched: all of it runs in namespaces that end with this process.
"""

import sys
import time
from io import TextIOWrapper
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # run as a directory, Python looks for modules there alone

from scripts.demo.site import Site  # noqa: E402
from scripts.demo.story import STEPS  # noqa: E402
from tests.mta.bed.namespace import missing  # noqa: E402


def main() -> int:
    """Tell the story; 0 when everything went as it must."""
    reason = missing()
    if reason is not None:
        print(f"make demo cannot run here: {reason}", file=sys.stderr)
        return 69
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # whoever reads it from a pipe follows it too
    began = time.monotonic()
    with Site.open() as site:
        for number, step in enumerate(STEPS, 1):
            print(f"\n{number}. {step.__doc__}")
            step(site)
    print(f"\nDone in {time.monotonic() - began:.0f} s; nothing of it is left.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
