"""The journal of a unit is followed, and followed again when journalctl ends."""

import asyncio
from pathlib import Path

import pytest

from app.agent.journal import follow

pytestmark = [pytest.mark.io, pytest.mark.anyio]


async def test_every_new_line_is_passed_on_also_after_an_end(tmp_path: Path):
    journalctl = tmp_path / "journalctl"
    journalctl.write_text('#!/bin/sh\necho "$*"\n')
    journalctl.chmod(0o755)
    heard: list[str] = []
    enough = asyncio.Event()

    def hear(line: str) -> None:
        heard.append(line)
        if len(heard) == 2:
            enough.set()

    following = asyncio.create_task(
        follow("opensmtpd.service", hear, journalctl=journalctl, pause_s=0.0)
    )
    async with asyncio.timeout(30):
        await enough.wait()
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert heard[:2] == ["-f -o cat -n 0 -u opensmtpd.service"] * 2


async def test_without_journalctl_it_waits_for_one(tmp_path: Path):
    journalctl, heard = tmp_path / "journalctl", asyncio.Event()
    following = asyncio.create_task(
        follow("x.service", lambda _: heard.set(), journalctl=journalctl, pause_s=0.01)
    )
    await asyncio.sleep(0.05)
    script = tmp_path / "made"
    script.write_text("#!/bin/sh\necho here\n")
    script.chmod(0o755)
    script.rename(journalctl)
    async with asyncio.timeout(30):
        await heard.wait()
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
