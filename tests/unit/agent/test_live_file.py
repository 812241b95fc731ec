"""The live file as the agent finds it: its own, none, or one that it cannot use."""

import os
from pathlib import Path

import lmdb
import pytest

from app.agent.live_file import LiveFile
from app.routing.live_file import META, Meta

pytestmark = pytest.mark.io


def opened(directory: Path) -> LiveFile:
    file = LiveFile(directory, os.getgid())
    file.open()
    return file


def test_a_fresh_file_is_nobodys(tmp_path: Path):
    file = opened(tmp_path)
    assert file.meta() == Meta()
    assert file.routing().maps == {}
    file.close()


@pytest.mark.parametrize("content", ["another format", "no file of LMDB"])
def test_a_file_of_others_is_set_aside_and_written_anew(tmp_path: Path, content: str):
    file = opened(tmp_path)
    file.close()
    data = tmp_path / "data/data.mdb"
    if content == "another format":
        with lmdb.open(str(tmp_path / "data")) as there, there.begin(write=True) as transaction:
            transaction.put(META, b'{"format":2}')
    else:
        data.write_bytes(b"not a page of it" * 1024)
    before = data.read_bytes()
    file = opened(tmp_path)
    assert file.meta() == Meta()
    assert (tmp_path / "data/set-aside.mdb").read_bytes() == before
    file.close()
