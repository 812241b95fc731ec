"""How often an agent looks at its MTA when nobody asks."""

import inspect

from app.agent.loop import Loop


def test_what_is_seen_is_told_every_thirty_seconds():
    """The documentation promises it; the test beside a real MTA has no such patience."""
    assert inspect.signature(Loop).parameters["report_every_s"].default == 30
