"""Generations on disk: staged whole, switched by one rename, undone after a crash.

    STATE_DIR/live               a symbolic link to the generation that the MTA is to read
    STATE_DIR/generations/7/     the files of generation 7, readable by the MTA's group
    STATE_DIR/generations/7.json what generation 7 is; it exists once the files are whole and synced
    STATE_DIR/intent.json        exists while `live` and the MTA are being moved
    STATE_DIR/spare              room for going back, while a move is under way
    STATE_DIR/check/             what smtpd's own check is given to read, while it checks
    STATE_DIR/drifted/           files that somebody changed by hand, as they were found
    STATE_DIR/lock               held by the one agent of this directory

Without an intent, `live` is confirmed. With one, the generation that it calls `old` is.
"""

import errno
import fcntl
import hashlib
import hmac
import os
import secrets
import shutil
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from app.agent import durable
from app.render.generation import File, Generation, Tombstone
from app.routing.errors import ControlError
from app.wire import Reload

_KEY_BYTES = 32
_SPARE_BYTES = 262_144
"""Room for the small files and the names that are written after staging."""
_WAY_BACK_BYTES = 65_536
"""As much of it as is kept until the move is ended, so that going back finds room."""
_DIRECTORY_MODE = 0o710
_STATE_DIR_MODE = 0o711
"""smtpd's unprivileged processes read list files again, so they must get to them."""
_MAX_DRIFTED = 20
_FULL = {errno.ENOSPC, errno.EDQUOT}


class AnotherAgent(ControlError):
    """Another process works on this state directory."""

    code = "state-dir-in-use"

    def __init__(self, state_dir: Path) -> None:
        super().__init__(f"another agent works on {state_dir}")


class NotStaged(ControlError):
    """A generation could not be written; nothing that the MTA reads was touched."""

    code = "not-staged"
    temporary = True

    def __init__(self, error: OSError) -> None:
        reason = "no space left for it" if error.errno in _FULL else str(error.strerror)
        super().__init__(f"the new generation could not be written: {reason}")


@dataclass(frozen=True, slots=True)
class Origin:
    """What a generation was made of.

    Attributes:
        history: id of the database's history; "" for the generation of a fresh agent.
        push: the push that wanted it.
        reload: what it takes to serve it after the generation before it.
    """

    history: str = ""
    revision: int = 0
    model_digest: str = ""
    push: int = 0
    reload: Reload = Reload.RESTART
    tombstones: tuple[Tombstone, ...] = ()


@dataclass(frozen=True, slots=True)
class Staged:
    """A generation that is whole on disk.

    Attributes:
        files: by name: mode and HMAC of the bytes, under the agent's key.
        secret: names of the files whose content must never be shown.
    """

    number: int
    origin: Origin
    files_digest: str
    files: dict[str, tuple[int, str]]
    secret: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Intent:
    """A move of `live` and the MTA between two generations, written before it begins.

    Attributes:
        back: whether `old` is being put back.
        tables: to update, when `reload` is `table-update`.
        why: what made us go back; a sentence for people.
        revived: `old` with actions of `new` that queued mail names, while it takes its place.
        failed: what an earlier going back was not ended from: queued mail may name its actions.
    """

    old: int
    new: int
    reload: Reload
    tables: tuple[str, ...] = ()
    back: bool = False
    why: str = ""
    revived: int | None = None
    failed: int | None = None


class Recovery(Enum):
    """What is to be done after a crash, decided from the disk alone."""

    NOTHING = "nothing"
    GO_ON = "go-on"
    GO_BACK = "go-back"


class Generations:
    """The generations of one state directory."""

    def __init__(self, state_dir: Path, group: int) -> None:
        self.state_dir = state_dir
        self.live_link = state_dir / "live"
        self.check_room = state_dir / "check"
        self._root = state_dir / "generations"
        self._intent = state_dir / "intent.json"
        self._spare = state_dir / "spare"
        self._group = group
        self._key = b""
        self._lock: int | None = None

    def open(self) -> None:
        """Take the directory for this process, and make what is missing in it.

        Raises:
            AnotherAgent: another process has taken it.
        """
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.state_dir.chmod(_STATE_DIR_MODE)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        lock = os.open(self.state_dir / "lock", flags, durable.PRIVATE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise AnotherAgent(self.state_dir) from None
        self._lock = lock
        if not self._root.exists():
            self._make_searchable(self._root)
        self._key = self._read_key()

    def close(self) -> None:
        """Leave the directory to another process."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def seal(self, content: bytes) -> str:
        """Stand in for bytes that may be secret: only this agent can tell what they were."""
        return hmac.new(self._key, content, hashlib.sha256).hexdigest()

    # --- what is there -----------------------------------------------------------------------

    def live(self) -> Staged | None:
        """The generation that `live` points to; None before the first."""
        try:
            number = int(self.live_link.readlink().name)
        except FileNotFoundError:
            return None
        return self.staged(number)

    def staged(self, number: int) -> Staged:
        """What a generation is.

        Raises:
            FileNotFoundError: there is no such generation.
        """
        document: Any = durable.read_json(self._meta(number))
        if document is None:
            raise FileNotFoundError(errno.ENOENT, "no such generation", str(self._meta(number)))
        origin = document["origin"]
        tombstones = tuple(
            Tombstone(**{**each, "relays": tuple(each["relays"])}) for each in origin["tombstones"]
        )
        origin |= {"reload": Reload(origin["reload"]), "tombstones": tombstones}
        files = {name: (mode, seal) for name, (mode, seal) in document["files"].items()}
        secret = tuple(document["secret"])
        return Staged(number, Origin(**origin), document["files_digest"], files, secret)

    def read(self, staged: Staged) -> Generation:
        """The files of a generation as they are now; those that are gone are left out."""
        directory = self.directory(staged.number)
        found = []
        for path in sorted(directory.iterdir()) if directory.is_dir() else ():
            try:
                if path.is_file() and not path.is_symlink():
                    mode = path.stat().st_mode & 0o7777
                    content = path.read_bytes()
                    found.append(File(path.name, mode, content, path.name in staged.secret))
            except FileNotFoundError:
                continue  # an editor's own, for a moment
        return Generation(tuple(found))

    def drift(self, staged: Staged) -> tuple[str, ...]:
        """The names of files that are not as they were staged: changed, gone or added."""
        now = {f.name: (f.mode, self.seal(f.content)) for f in self.read(staged).files}
        names = now.keys() | staged.files.keys()
        return tuple(sorted(n for n in names if now.get(n) != staged.files.get(n)))

    def directory(self, number: int) -> Path:
        """Where the files of a generation are."""
        return self._root / str(number)

    # --- staging -----------------------------------------------------------------------------

    def stage(self, generation: Generation, origin: Origin) -> Staged:
        """Write a generation beside the others; nothing that the MTA reads is touched.

        Raises:
            NotStaged: there is no room for it, or the disk refuses; what was written is gone.
        """
        number = max([0, *self._numbers()]) + 1
        files = {f.name: (f.mode, self.seal(f.content)) for f in generation.files}
        secret = tuple(f.name for f in generation.files if f.secret)
        staged = Staged(number, origin, generation.digest(self.seal), files, secret)
        try:
            self._write(generation, staged)
        except OSError as error:
            self.discard(number)
            self._spare.unlink(missing_ok=True)
            raise NotStaged(error) from error
        return staged

    def _write(self, generation: Generation, staged: Staged) -> None:
        directory = self.directory(staged.number)
        self._make_searchable(directory)
        descriptors: list[int] = []
        try:
            # All the room is taken before the first octet is written.
            self._reserve(_SPARE_BYTES)
            descriptors.extend(
                durable.create(directory / file.name, len(file.content))
                for file in generation.files
            )
            for file, descriptor in zip(generation.files, descriptors, strict=True):
                os.fchown(descriptor, -1, self._group)
                os.fchmod(descriptor, file.mode)
                durable.fill(descriptor, file.content)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        durable.sync_directory(directory)
        self._spare.unlink()
        durable.replace_json(self._meta(staged.number), _document(staged))
        self._reserve(_WAY_BACK_BYTES)

    def _reserve(self, size_bytes: int) -> None:
        self._spare.unlink(missing_ok=True)
        os.close(durable.create(self._spare, size_bytes))

    def _make_searchable(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        os.chown(directory, -1, self._group)
        directory.chmod(_DIRECTORY_MODE)

    # --- switching ---------------------------------------------------------------------------

    def begin(self, intent: Intent) -> None:
        """Write down what is about to be done."""
        document = asdict(intent) | {"reload": intent.reload.value, "tables": list(intent.tables)}
        for name in ("revived", "failed"):  # an older agent knows of neither
            if document[name] is None:
                del document[name]
        durable.replace_json(self._intent, document)

    def intent(self) -> Intent | None:
        """What was begun and not ended."""
        document: Any = durable.read_json(self._intent)
        if document is None:
            return None
        changed = {"reload": Reload(document["reload"]), "tables": tuple(document["tables"])}
        return Intent(**(document | changed))

    def activate(self, number: int) -> None:
        """Let `live` point to a generation; a reader sees the one before or this one, whole."""
        durable.point(self.live_link, f"generations/{number}")

    def confirm(self) -> None:
        """End the move: what `live` points to is confirmed, and everything else goes."""
        durable.remove(self._intent)
        self.prune()

    def abandon(self, intent: Intent) -> None:
        """Say that a move did not begin, and remove what was made for it."""
        self._not_begun(intent)
        self.prune()

    def prune(self) -> None:
        """Remove the spare, and every generation but the live one and those of an intent."""
        self._spare.unlink(missing_ok=True)
        kept: set[int | None] = set()
        live = self.live()
        if live is not None:
            kept.add(live.number)
        intent = self.intent()
        if intent is not None:
            kept |= {intent.old, intent.new, intent.revived, intent.failed}
        for number in self._numbers() - kept:
            self.discard(number)

    def discard(self, number: int) -> None:
        """Remove a generation; its description first, so that no half of it looks whole."""
        self._meta(number).unlink(missing_ok=True)
        directory = self.directory(number)
        if directory.exists():
            shutil.rmtree(directory)

    def recover(self) -> Recovery:
        """Say what a crash left to be done, and remove what it left lying about."""
        shutil.rmtree(self.check_room, ignore_errors=True)
        for leftover in (*self.state_dir.glob("*.new"), *self._root.glob("*.new"), self._spare):
            leftover.unlink(missing_ok=True)
        intent, live = self.intent(), self.live()
        if (
            intent is not None
            and not intent.back
            and live is not None
            and live.number == intent.old
        ):  # `live` was not moved, so the MTA was not touched
            intent = self._not_begun(intent)
        self.prune()
        if intent is None:
            return Recovery.NOTHING
        return Recovery.GO_BACK if intent.back else Recovery.GO_ON

    def _not_begun(self, intent: Intent) -> Intent | None:
        """What is left to be done of a move that did not begin."""
        if intent.failed is None:
            durable.remove(self._intent)
            return None
        why = "an earlier push could not be undone"
        back = Intent(intent.old, intent.failed, Reload.RESTART, back=True, why=why)
        self.begin(back)
        return back

    def go_back(self, why: str) -> Intent:
        """Point `live` to the old generation again, having written down that we do.

        Raises:
            AssertionError: no move was begun.
            OSError: the disk refuses, and `live` may still point to the new one.
        """
        intent = self.intent()
        if intent is None:
            raise AssertionError("there is no intent to go back from")
        back = intent if intent.back else replace(intent, back=True, why=why)
        self._spare.unlink(missing_ok=True)
        self.begin(back)
        self.activate(back.old)
        return back

    def revive(self, intent: Intent, number: int) -> Intent:
        """Point `live` to a revived old generation, having written down that we do."""
        reviving = replace(intent, revived=number)
        self.begin(reviving)
        self.activate(number)
        return reviving

    # --- drift -------------------------------------------------------------------------------

    def keep_drifted(self, staged: Staged, names: tuple[str, ...]) -> None:
        """Copy files that were changed by hand to where the next generation does not reach.

        Not the table of passwords: they are in no file but the one that smtpd reads.
        """
        kept = self.state_dir / "drifted"
        kept.mkdir(mode=0o700, exist_ok=True)
        for name in names:
            path = self.directory(staged.number) / name
            if name not in staged.secret and path.is_file() and not path.is_symlink():
                durable.replace(kept / f"{staged.number}-{name}", path.read_bytes())
        by_age = sorted(kept.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for path in by_age[:-_MAX_DRIFTED]:
            path.unlink()

    # --- the small things --------------------------------------------------------------------

    def _numbers(self) -> set[int]:
        return {int(path.stem) for path in self._root.iterdir() if path.stem.isdecimal()}

    def _meta(self, number: int) -> Path:
        return self._root / f"{number}.json"

    def _read_key(self) -> bytes:
        path = self.state_dir / "seal.key"
        if not path.exists():
            durable.replace(path, secrets.token_bytes(_KEY_BYTES))
        return path.read_bytes()


def _document(staged: Staged) -> dict[str, Any]:
    document = asdict(staged)
    del document["number"]
    document["origin"]["reload"] = staged.origin.reload.value
    return document
