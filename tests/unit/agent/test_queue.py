"""Which actions queued envelopes name, from files as smtpd writes them."""

import shutil
import threading
from pathlib import Path

import pytest

from app.agent.queue import scan
from app.agent.tombstones import kept, retire_at
from app.render.generation import Tombstone

pytestmark = pytest.mark.io

PLAIN = "version: 3\ndispatcher: {action}\ntag: \ntype: mta\n"


def put(spool: Path, path: str, content: bytes) -> None:
    target = spool / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    put(tmp_path, "queue/0a/0a0b0c0d/0a0b0c0d00000001", PLAIN.format(action="rm-r1").encode())
    put(tmp_path, "queue/0a/0a0b0c0d/0a0b0c0d00000002", PLAIN.format(action="out").encode())
    put(tmp_path, "queue/0a/0a0b0c0d/message", b"dispatcher: not-an-envelope\n")
    put(tmp_path, "incoming/1a0b0c0d/1a0b0c0d00000001", PLAIN.format(action="rm-r2").encode())
    return tmp_path


def test_every_envelope_is_seen_and_nothing_else(spool: Path):
    found = scan(spool)
    assert found.actions == {"rm-r1", "rm-r2", "out"}
    assert (found.envelopes, found.opaque) == (3, 0)
    assert found.may_name("rm-r2")
    assert not found.may_name("rm-r3")


def test_an_envelope_that_cannot_be_read_may_name_any_action(spool: Path):
    put(spool, "queue/0b/0b0b0c0d/0b0b0c0d00000001", b"\x1f\x8b\x08\x00")
    found = scan(spool)
    assert found.opaque == 1
    assert found.may_name("rm-r3")


def test_a_spool_that_is_not_there_is_empty(tmp_path: Path):
    assert scan(tmp_path / "nothing").envelopes == 0


def test_a_tombstone_stays_for_its_time_and_for_mail_that_names_it(spool: Path):
    stones = [Tombstone(f"rm-r{n}", "relay", (), at) for n, at in ((1, 10), (3, 10), (4, 30))]
    assert [each.action for each in kept(stones, 20, scan(spool))] == ["rm-r1", "rm-r4"]


@pytest.mark.parametrize(("queue_s", "rule_s", "at"), [(100, 0, 87_500), (100, 500, 87_900)])
def test_the_longest_life_of_mail_and_a_day_decide(queue_s: int, rule_s: int, at: int):
    assert retire_at(1000, queue_s, rule_s) == at


def test_mail_that_is_delivered_while_we_look_is_no_trouble(spool: Path):
    """smtpd removes envelopes, their messages' directories and those around them."""
    ends = threading.Event()

    def deliver() -> None:
        while not ends.is_set():
            put(spool, "queue/0c/0c0b0c0d/0c0b0c0d00000001", PLAIN.format(action="out").encode())
            shutil.rmtree(spool / "queue/0c")

    smtpd = threading.Thread(target=deliver)
    smtpd.start()
    try:
        for _ in range(500):
            assert scan(spool).actions == {"rm-r1", "rm-r2", "out"}
    finally:
        ends.set()
        smtpd.join()
