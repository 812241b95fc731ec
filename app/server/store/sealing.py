"""Secrets at rest: AES-256-GCM under a key that is in a file beside the database, never in it."""

import json
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.routing.document import canonical_json
from app.server.storage import NewSecret, StorageDamaged
from app.server.store.refusals import SealingKeyMissing, SealingKeyRefused, SealingKeyWrong

KEY_BYTES = 32
_NONCE_BYTES = 12
_CHECKED = b"relaymap sealing key"


class Seal:
    """Seals and opens with one key, for one database."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def key_check(self, identity: str) -> bytes:
        """What proves later that the same key is used."""
        return self._seal(_CHECKED, _aad("key check", identity))

    def check(self, key_check: bytes, identity: str) -> None:
        """Compare this key with the one that made a key check.

        Raises:
            SealingKeyWrong: it is another key.
        """
        try:
            opened = self._open(key_check, _aad("key check", identity))
        except InvalidTag as invalid:
            raise SealingKeyWrong from invalid
        if opened != _CHECKED:
            raise SealingKeyWrong

    def seal(self, secret: NewSecret, label: str, revision: int, identity: str) -> bytes:
        """A credential's secret, bound to its label, the revision of it, and this database."""
        plain = canonical_json([secret.username, secret.password])
        return self._seal(plain, _aad("credential", identity, label, str(revision)))

    def open(self, sealed: bytes, label: str, revision: int, identity: str) -> NewSecret:
        """The secret that was sealed under that label, revision and database.

        Raises:
            StorageDamaged: the row was altered, or moved from another label or database.
        """
        try:
            plain = self._open(sealed, _aad("credential", identity, label, str(revision)))
        except InvalidTag as invalid:
            raise StorageDamaged(f"credentials/{label}: its secret cannot be opened") from invalid
        username, password = json.loads(plain)
        return NewSecret(username, password)

    def _seal(self, plain: bytes, aad: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, aad)

    def _open(self, sealed: bytes, aad: bytes) -> bytes:
        return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], aad)


def _aad(*parts: str) -> bytes:
    return canonical_json(["relaymap", *parts])


def make_key(path: Path) -> None:
    """Write a new key to a new file of mode 0600, on disk before this returns.

    The file is there whole or not at all, whenever the power goes; a file that is there is left
    alone, and of two that make it at once one does.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_key(path: Path) -> bytes:
    """The key in a file.

    Raises:
        SealingKeyMissing: there is no file.
        SealingKeyRefused: others may read it, or it does not hold 32 bytes.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(KEY_BYTES + 1)
    except FileNotFoundError as absent:
        raise SealingKeyMissing(path) from absent
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise SealingKeyRefused(path, "it must be a file of mode 0600")
    if len(key) != KEY_BYTES:
        raise SealingKeyRefused(path, f"it must hold {KEY_BYTES} bytes")
    return key
