"""A secret is in the database only as bytes that nothing but the key opens."""

from pathlib import Path

import pytest
from sqlalchemy import select, text

from app.server.storage import NewSecret, StorageDamaged
from app.server.store.schema import METADATA
from app.server.store.sealing import Seal
from tests.contract.conftest import Database
from tests.contract.samples import CANARY, EVERYTHING, SECRETS, put_credential
from tests.leaks import forms

USER = SECRETS["acct"].username


async def write_secrets(database: Database) -> None:
    """Made, replaced, and put with everything else that is written beside it."""
    async with database.editor() as editor:
        await editor.edit(lambda _: EVERYTHING, author="test", secrets=SECRETS)
        for password in ("between", CANARY):
            secrets = {"acct": NewSecret(USER, password)}
            put = put_credential("acct", "*.example.net", "192.0.2.1")
            await editor.edit(lambda _, p=put: [p], author="test", secrets=secrets)  # type: ignore[misc]
        await editor._store.backup(database.folder / "backup")
        (secret,) = await editor._store.secrets(["acct"])
        assert (secret.username, secret.password) == (USER, CANARY)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.anyio
async def test_no_file_holds_a_secret_in_any_form(database: Database) -> None:
    await write_secrets(database)
    found = bytes_of(database.folder)
    assert database.folder / "backup" in map(Path, found)
    for path, content in found.items():
        for form in forms(CANARY) | forms(USER):
            assert form not in content, path


@pytest.mark.anyio
async def test_no_page_of_a_running_sqlite_holds_a_secret(sqlite: Database) -> None:
    """The write-ahead log too, which is gone once the database is closed."""
    async with sqlite.editor() as editor:
        await editor.edit(lambda _: EVERYTHING, author="test", secrets=SECRETS)
        found = bytes_of(sqlite.folder)
    assert any(path.endswith("-wal") for path in found)
    assert not [p for p, c in found.items() for form in forms(CANARY) if form in c]


@pytest.mark.anyio
async def test_no_row_holds_a_secret_in_any_form(database: Database) -> None:
    """What a dump of either engine would write."""
    await write_secrets(database)
    with database.connection() as connection:
        rows = [
            value if isinstance(value, bytes) else str(value).encode()
            for table in METADATA.sorted_tables
            for row in connection.execute(select(table))
            for value in row
        ]
    assert len(rows) > 50
    assert not [row for row in rows for form in forms(CANARY) | forms(USER) if form in row]


@pytest.mark.anyio
async def test_the_check_above_would_find_a_secret(sqlite: Database) -> None:
    await write_secrets(sqlite)
    with sqlite.connection() as connection:
        connection.execute(text("UPDATE mtas SET description = ''"))
        connection.execute(text("UPDATE revisions SET message = :m"), {"m": f"see {CANARY}"})
    found = bytes_of(sqlite.folder)
    assert [path for path, content in found.items() for form in forms(CANARY) if form in content]


@pytest.mark.anyio
async def test_a_sealed_secret_opens_in_its_own_row_alone(database: Database) -> None:
    async with database.editor() as editor:
        puts = [put_credential("one", "a.example"), put_credential("two", "b.example")]
        secrets = {"one": NewSecret("u1", "p1"), "two": NewSecret("u2", "p2")}
        await editor.edit(lambda _: puts, author="test", secrets=secrets)
        swapped = "UPDATE credentials SET sealed = (SELECT sealed FROM credentials c WHERE c.label = 'two') WHERE label = 'one'"
        with database.connection() as connection:
            connection.execute(text(swapped))
        with pytest.raises(StorageDamaged, match="credentials/one"):
            await editor._store.secrets(["one"])
        assert len(await editor._store.secrets(["two"])) == 1


@pytest.mark.parametrize(
    ("label", "revision", "identity"), [("b", 1, "i"), ("a", 2, "i"), ("a", 1, "j")]
)
def test_a_seal_binds_label_revision_and_database(label: str, revision: int, identity: str) -> None:
    seal = Seal(bytes(32))
    sealed = seal.seal(NewSecret("u", "p"), "a", 1, "i")
    assert seal.open(sealed, "a", 1, "i") == NewSecret("u", "p")
    with pytest.raises(StorageDamaged):
        seal.open(sealed, label, revision, identity)


def test_the_same_secret_is_never_sealed_to_the_same_bytes() -> None:
    seal = Seal(bytes(32))
    assert len({seal.seal(NewSecret("u", "p"), "a", 1, "i") for _ in range(100)}) == 100


def test_every_bit_of_sealed_bytes_counts() -> None:
    seal = Seal(bytes(range(32)))
    sealed = seal.seal(NewSecret("u", "p"), "a", 1, "i")
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        with pytest.raises(StorageDamaged):
            seal.open(bytes(altered), "a", 1, "i")
