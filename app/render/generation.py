"""Generations: the files that a routing becomes on one MTA, with modes and digests."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from app.routing.names import IPAddress


@dataclass(frozen=True, slots=True)
class Secret:
    """What a label stands for. Its `repr` never shows the username or the password."""

    label: str
    revision: int
    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """An action that routing no longer uses, kept because queued mail may still name it.

    Attributes:
        action: its name in the MTA's configuration, such as `rm-r17`.
        text: the action as it was last rendered, after its name.
        relays: the relays of its last list, as the MTA spells them; empty where it had no list.
        retire_at: seconds since the epoch after which it goes, if no queued envelope names it.
    """

    action: str
    text: str
    relays: tuple[str, ...]
    retire_at: int


@dataclass(frozen=True, slots=True)
class Target:
    """The MTA that is rendered for, as its agent reported it.

    Attributes:
        version: of OpenSMTPD, such as (6, 8) or (7, 8).
        state_dir: the agent's state directory; files are served from `<state_dir>/live`.
        addresses: the addresses of the MTA's host when the MTA started, loopback included.
        present: those that it has now, which it can send from; None: the same.
        certificates: names of key pairs (`pki`) declared in the operator's file.
        cas: names of CAs declared there.
        tombstones: actions to keep.
    """

    version: tuple[int, int]
    state_dir: str
    addresses: tuple[IPAddress, ...] = ()
    certificates: tuple[str, ...] = ()
    cas: tuple[str, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()
    present: tuple[IPAddress, ...] | None = None


@dataclass(frozen=True, slots=True)
class File:
    """One file of a generation. `repr` shows no content: it may hold secrets.

    Attributes:
        name: a bare file name.
        mode: permission bits; the group is the MTA's.
        secret: whether its content must never be shown or hashed bare.
    """

    name: str
    mode: int
    content: bytes = field(repr=False)
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Generation:
    """The files of one generation, by name."""

    files: tuple[File, ...]

    def file(self, name: str) -> File | None:
        """The file of that name, or None."""
        return next((file for file in self.files if file.name == name), None)

    def digest(self, seal: Callable[[bytes], str]) -> str:
        """The files digest: SHA-256 over name, mode and bytes of every file, in hex.

        Args:
            seal: stands in for the bytes of secret files: an HMAC under a key of the agent's own,
                so that the digest tells nobody whether they guessed a password.
        """
        total = hashlib.sha256()
        for file in sorted(self.files, key=lambda file: file.name):
            body = seal(file.content) if file.secret else hashlib.sha256(file.content).hexdigest()
            total.update(f"{file.name}\0{file.mode:o}\0{body}\n".encode())
        return total.hexdigest()
