"""The table program is put where smtpd's user gets to all that it takes, or nowhere."""

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.agent import program

pytestmark = pytest.mark.io


@pytest.fixture
def ours() -> Iterator[Path]:
    """A directory that everybody gets to, with what the program imports; pytest's are shut."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "app/routing").mkdir(parents=True, mode=0o755)
        (root / "python").touch(mode=0o755)
        yield root


def test_what_is_installed_names_its_interpreter_and_runs_for_everybody(ours: Path):
    target = program.install(ours, ours / "python", ours)
    assert target == ours / "table-relaymap"
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    first, *others = target.read_text("ascii").splitlines()
    assert first == f"#!{ours}/python -IS"
    assert f"sys.path.insert(0, '{ours}')" in others


def test_installed_again_it_is_replaced(ours: Path):
    (ours / "table-relaymap").write_text("of before", "ascii")
    assert "of before" not in program.install(ours, ours / "python", ours).read_text("ascii")
    assert [path.name for path in ours.glob("*table*")] == ["table-relaymap"]


def test_what_smtpds_user_could_not_read_is_not_installed(ours: Path):
    (ours / "app").chmod(0o700)
    with pytest.raises(program.CannotInstall, match="is not open to others"):
        program.install(ours, ours / "python", ours)
    assert not (ours / "table-relaymap").exists()


def test_where_there_is_no_opensmtpd_it_says_so(ours: Path):
    with pytest.raises(program.CannotInstall, match="is OpenSMTPD installed"):
        program.install(ours / "none", ours / "python", ours)
