"""Which process counts as the one that was just started, and what is said of one that ended."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from app.agent.control import NotServing
from app.agent.opensmtpd import OpenSMTPD
from app.agent.process import Identity

pytestmark = [pytest.mark.io, pytest.mark.anyio]

NOW = 1_000
BEFORE = Identity(10, NOW - 100, "boot")
FRESH = Identity(12, NOW, "boot")
LIMIT_S = 10
"""An answer that is not the one expected would be waited for."""


class Looks:
    """A control that starts nothing, and finds one process after the other; the last one stays."""

    def __init__(self, found: Iterable[Identity | None]) -> None:
        self._found = list(found)

    async def restart(self, limit_s: float) -> None:
        """Do nothing."""

    async def running(self) -> Identity | None:
        return self._found.pop(0) if len(self._found) > 1 else self._found[0]

    def now(self) -> int:
        return NOW

    def last_words(self) -> str:
        return "fatal: not today"


@pytest.mark.parametrize(
    ("found", "before"),
    [
        (BEFORE, BEFORE),
        # Nothing was seen to run before, or another: what is older than the start is not from it.
        (BEFORE, None),
        (Identity(11, NOW - 1, "boot"), BEFORE),
    ],
)
async def test_a_process_older_than_the_start_is_not_the_one_started(
    found: Identity, before: Identity | None
):
    nowhere = Path("/no")
    smtpd = OpenSMTPD(nowhere, nowhere, Looks([found]), conf=nowhere, ours=nowhere)
    with pytest.raises(NotServing, match="the one from before"):
        async with asyncio.timeout(LIMIT_S):
            await smtpd.settled(NOW, before)


async def test_one_that_ended_while_it_was_asked_is_said_to_have_ended(tmp_path: Path):
    """It served; then it does not answer, and is gone when one looks why."""
    smtpctl, conf = tmp_path / "smtpctl", tmp_path / "smtpd.conf"
    smtpctl.write_text(f"#!/bin/sh\nmkdir {tmp_path}/asked\n")  # succeeds once
    smtpctl.chmod(0o755)
    conf.touch()
    # Found when it was started, and twice in each of two rounds.
    looks = Looks([FRESH] * 5 + [None])
    smtpd = OpenSMTPD(tmp_path, smtpctl, looks, conf=conf, ours=conf, settle_s=LIMIT_S)
    with pytest.raises(NotServing, match="smtpd ended: fatal: not today"):
        async with asyncio.timeout(LIMIT_S):
            await smtpd.settled(NOW, BEFORE)
