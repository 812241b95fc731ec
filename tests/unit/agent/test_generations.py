"""Generations on disk: whole before they have a name, switched in one step, recovered from the disk."""

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.agent import durable
from app.agent.generations import AnotherAgent, Generations, Intent, NotStaged, Origin, Recovery
from app.render.generation import File, Generation, Tombstone
from app.wire import Reload

pytestmark = pytest.mark.io

SECRET = File("credentials", 0o640, b"lab\tuser:word\n", secret=True)


def files(text: bytes) -> Generation:
    return Generation((File("relaymap.conf", 0o640, text), SECRET))


@pytest.fixture
def generations(tmp_path: Path) -> Iterator[Generations]:
    opened = Generations(tmp_path / "state", os.getgid())
    opened.open()
    yield opened
    opened.close()


def names(generations: Generations) -> set[str]:
    return {path.name for path in (generations.state_dir / "generations").iterdir()}


def move(generations: Generations) -> tuple[int, int]:
    """A live generation, and a staged one with an intent to move to it."""
    old = generations.stage(files(b"old\n"), Origin())
    generations.activate(old.number)
    new = generations.stage(files(b"new\n"), Origin(push=2))
    generations.begin(Intent(old.number, new.number, Reload.RESTART))
    return old.number, new.number


def test_what_is_staged_is_read_back_as_it_was(generations: Generations):
    stone = Tombstone("rm-r1", "relay", ("smtp://a",), 5)
    origin = Origin("h", 3, "digest", 9, Reload.TABLE_UPDATE, (stone,))
    staged = generations.stage(files(b"x\n"), origin)
    assert generations.staged(staged.number) == staged
    assert generations.read(staged).digest(generations.seal) == staged.files_digest
    assert generations.drift(staged) == ()
    assert generations.live() is None


def test_files_are_for_the_mtas_group_and_directories_can_be_searched_by_it(
    generations: Generations,
):
    staged = generations.stage(files(b"x\n"), Origin())
    directory = generations.directory(staged.number)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert modes == {"relaymap.conf": 0o640, "credentials": 0o640}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o710
    assert stat.S_IMODE(generations.state_dir.stat().st_mode) == 0o711


def test_a_secret_file_is_sealed_with_a_key_of_this_agent(generations: Generations, tmp_path: Path):
    other = Generations(tmp_path / "other", os.getgid())
    other.open()
    digests = {g.stage(files(b"x\n"), Origin()).files_digest for g in (generations, other)}
    other.close()
    assert len(digests) == 2


@pytest.mark.parametrize("change", ["content", "mode", "gone", "added"])
def test_a_change_by_hand_is_drift(generations: Generations, change: str):
    staged = generations.stage(files(b"x\n"), Origin())
    path = generations.directory(staged.number) / "relaymap.conf"
    if change == "content":
        path.write_bytes(b"y\n")
    elif change == "mode":
        path.chmod(0o644)
    elif change == "gone":
        path.unlink()
    else:
        path = path.with_name("more.conf")
        path.write_bytes(b"")
    assert generations.drift(staged) == (path.name,)


def test_two_agents_do_not_share_a_directory(generations: Generations):
    with pytest.raises(AnotherAgent):
        Generations(generations.state_dir, os.getgid()).open()


def test_without_room_nothing_is_left_behind(
    generations: Generations, monkeypatch: pytest.MonkeyPatch
):
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = set(generations.state_dir.rglob("*"))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NotStaged, match="no space left"):
        generations.stage(files(b"x\n"), Origin())
    assert set(generations.state_dir.rglob("*")) == before


def test_a_generation_without_its_description_is_rubbish(generations: Generations):
    staged = generations.stage(files(b"x\n"), Origin())
    (generations.state_dir / f"generations/{staged.number}.json").unlink()
    assert generations.recover() is Recovery.NOTHING
    assert names(generations) == set()


def test_a_move_that_was_not_made_is_forgotten(generations: Generations):
    old, _ = move(generations)
    assert generations.recover() is Recovery.NOTHING
    assert generations.intent() is None
    assert names(generations) == {str(old), f"{old}.json"}


def test_a_move_that_was_made_goes_on_and_keeps_both_until_it_is_confirmed(
    generations: Generations,
):
    old, new = move(generations)
    generations.activate(new)
    assert generations.recover() is Recovery.GO_ON
    assert {str(old), str(new)} < names(generations)
    generations.confirm()
    assert names(generations) == {str(new), f"{new}.json"}


def test_going_back_is_gone_on_with(generations: Generations):
    old, new = move(generations)
    generations.activate(new)
    generations.go_back("it died")
    live = generations.live()
    assert live is not None
    assert live.number == old
    assert generations.recover() is Recovery.GO_BACK
    intent = generations.intent()
    assert intent is not None
    assert (intent.back, intent.why) == (True, "it died")
    # Killed between the note and the link: the link is moved now.
    generations.activate(new)
    assert generations.recover() is Recovery.GO_BACK


def test_numbers_are_not_used_again_while_a_generation_has_them(generations: Generations):
    old, new = move(generations)
    assert generations.stage(files(b"third\n"), Origin()).number > new > old


def test_a_document_is_put_in_place_whole(tmp_path: Path):
    path = tmp_path / "note.json"
    assert durable.read_json(path) is None
    durable.replace_json(path, {"a": 1})
    (tmp_path / "note.json.new").write_text("half")
    durable.replace_json(path, {"a": 2})
    assert durable.read_json(path) == {"a": 2}
    assert [each.name for each in tmp_path.iterdir()] == ["note.json"]


def test_killed_while_the_old_one_was_being_revived_it_goes_back_again(generations: Generations):
    old, new = move(generations)
    generations.activate(new)
    back = generations.go_back("it did not serve")
    revived = generations.stage(files(b"old and more\n"), Origin(push=1))
    generations.begin(Intent(old, new, Reload.RESTART, back=True, revived=revived.number))
    assert generations.recover() is Recovery.GO_BACK, "before `live` was moved"
    generations.revive(back, revived.number)
    assert generations.recover() is Recovery.GO_BACK, "and after it"
    assert generations.go_back("again").new == new, "the one that is given up is not forgotten"
    generations.confirm()
    assert names(generations) == {str(old), f"{old}.json"}


def test_what_was_not_ended_is_not_forgotten_by_a_move_that_does_not_begin(
    generations: Generations,
):
    old, failed = move(generations)
    generations.activate(failed)
    generations.go_back("it did not serve")
    new = generations.stage(files(b"newer\n"), Origin(push=3))
    generations.begin(Intent(old, new.number, Reload.RESTART, failed=failed))
    assert generations.recover() is Recovery.GO_BACK
    intent = generations.intent()
    assert intent is not None
    assert (intent.old, intent.new, intent.back) == (old, failed, True)


def test_the_way_back_has_room_of_its_own(generations: Generations):
    old, new = move(generations)
    spare = generations.state_dir / "spare"
    assert spare.stat().st_size >= 65_536
    generations.activate(new)
    generations.go_back("no space left")
    assert not spare.exists()
    assert generations.live() == generations.staged(old)


def test_files_that_come_and_go_are_no_trouble(generations: Generations):
    """An editor makes and removes its own beside ours."""
    staged = generations.stage(files(b"x\n"), Origin())
    own = generations.directory(staged.number) / ".relaymap.conf.swp"
    ends = threading.Event()

    def edit() -> None:
        while not ends.is_set():
            own.write_bytes(b"")
            own.unlink()

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        for _ in range(500):
            assert set(generations.drift(staged)) <= {own.name}
    finally:
        ends.set()
        editor.join()
