"""smtpd as a child: one that does not want to end is ended all the same."""

from pathlib import Path

import anyio
import pytest

from app.agent.supervise import Supervise

pytestmark = [pytest.mark.io, pytest.mark.anyio]

DEAF = """#!/usr/bin/env python3
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""


async def test_one_that_is_deaf_to_sigterm_is_replaced_within_the_limit(tmp_path: Path):
    smtpd = tmp_path / "smtpd"
    smtpd.write_text(DEAF)
    smtpd.chmod(0o755)
    control = Supervise(smtpd, tmp_path / "smtpd.conf")
    await control.restart(3)
    first = await control.running()
    while control.last_words() != "deaf":  # noqa: ASYNC110  its output is no event
        await anyio.sleep(0.01)
    with anyio.fail_after(30):
        await control.restart(3)
    second = await control.running()
    assert None not in {first, second}
    assert first != second
    await control._stop(0.1)
    assert await control.running() is None
