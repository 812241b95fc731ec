"""Files and links that are whole after a power cut: written, synced, and only then given a name."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

PRIVATE = 0o600


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create(path: Path, size_bytes: int) -> int:
    """Make a new file with room for its content, and answer its descriptor.

    Raises:
        OSError: it exists (EEXIST), or there is no room (ENOSPC, EDQUOT).
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, PRIVATE)
    if size_bytes:
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
        except OSError:
            os.close(descriptor)
            raise
    return descriptor


def fill(descriptor: int, content: bytes) -> None:
    """Write all of a file and sync it."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def replace(path: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Put a file in place of another in one step: readers see the one or the other, whole."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)  # left by a crash
    try:
        descriptor = create(fresh, 0)
        try:
            os.fchmod(descriptor, mode)
            fill(descriptor, content)
        finally:
            os.close(descriptor)
        fresh.rename(path)
    except OSError:
        fresh.unlink(missing_ok=True)  # half a file would keep the room that is missing
        raise
    sync_directory(path.parent)


def point(link: Path, target: str) -> None:
    """Point a symbolic link elsewhere in one step."""
    fresh = link.with_name(link.name + ".new")
    fresh.unlink(missing_ok=True)  # left by a crash
    fresh.symlink_to(target)
    fresh.rename(link)
    sync_directory(link.parent)


def remove(path: Path) -> None:
    """Remove a file's name, for good."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def replace_json(path: Path, document: Mapping[str, object]) -> None:
    """Put a JSON document in place of another in one step."""
    replace(path, json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")


def read_json(path: Path) -> dict[str, object] | None:
    """The JSON document in a file; None if there is no such file.

    Raises:
        ValueError: what it holds is no JSON object. `replace_json` never leaves such a file.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no JSON object")  # noqa: TRY004  as json.loads for the rest
    return document
