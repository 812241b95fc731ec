"""Runs the command line: `relaymap` where it is installed, `python -m app` from a checkout.

A plain question to a server is asked at once; the rest of the command line takes longer to load.
"""

import os
import sys


def main() -> int:
    """Run the command of this process; its exit code."""
    if sys.argv[1:2] == ["resolve"]:
        from app import ask  # noqa: PLC0415  nothing is loaded that is not needed

        code = ask.main(sys.argv[2:], os.environ)
        if code is not None:
            return code
    from app import cli  # noqa: PLC0415  as above

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
