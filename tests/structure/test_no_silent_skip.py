"""The guards of the test run itself: a skip is listed or refused, a unit test can do no I/O."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_pytest(where: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", where],
        cwd=where,
        env={
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "RELAYMAP_REQUIRE_ALL": "",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A test tree of its own with the real conftest files in it."""
    (tmp_path / "tests/unit").mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  io: may do I/O\n")
    for name in ("tests/conftest.py", "tests/unit/conftest.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def skipping(suite: Path) -> Path:
    (suite / "tests/test_in_call.py").write_text(
        "import pytest\n\ndef test_x():\n    pytest.skip('no smtpd here')\n"
        "\n@pytest.mark.skipif(True, reason='no root here')\ndef test_y():\n    pass\n"
    )
    (suite / "tests/test_at_import.py").write_text(
        "import pytest\n\npytest.importorskip('no_such_module_here')\n"
    )
    return suite


def test_every_skip_is_listed_with_its_reason(skipping: Path) -> None:
    said = run_pytest(skipping)
    listed = said.partition("NOT CHECKED ON THIS MACHINE")[2]
    assert "test_x: no smtpd here" in listed
    assert "test_y: no root here" in listed
    assert "no_such_module_here" in listed
    assert "3 skipped" in said
    assert "failed" not in said


def test_every_skip_is_a_failure_where_all_is_required(skipping: Path) -> None:
    said = run_pytest(skipping, RELAYMAP_REQUIRE_ALL="1")
    assert "no_such_module_here" in said
    assert "1 error" in said  # the module that skips itself while it is collected
    (skipping / "tests/test_at_import.py").unlink()
    said = run_pytest(skipping, RELAYMAP_REQUIRE_ALL="1")
    assert "no smtpd here" in said
    assert "no root here" in said
    assert "1 failed, 1 error" in said  # in the call, in the set-up
    assert "NOT CHECKED" not in said


DEEDS = (
    "open('/etc/hostname')",
    "open('x', 'w')",
    "__import__('socket').socket()",
    "__import__('subprocess').run(['true'])",
    "__import__('sqlite3').connect(':memory:')",
)


def test_a_unit_test_that_does_io_fails_unless_it_says_so(suite: Path) -> None:
    bare = "".join(f"def test_{n}():\n    {deed}\n\n" for n, deed in enumerate(DEEDS))
    (suite / "tests/unit/test_planted.py").write_text(bare)
    said = run_pytest(suite)
    assert f"{len(DEEDS)} failed" in said
    assert said.count("RuntimeError: a unit test did I/O") >= len(DEEDS)
    marked = "import pytest\n\npytestmark = pytest.mark.io\n\n" + bare
    (suite / "tests/unit/test_planted.py").write_text(marked)
    assert f"{len(DEEDS)} passed" in run_pytest(suite)
