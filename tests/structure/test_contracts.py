"""Each import contract holds, and each catches a violation planted in a copy of the code."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

LAYERS = "Imports only point down"
PURE = "routing and render do no I/O, know no clock, chance, log, framework"
CHILDREN = "Only app.agent.process starts child processes"
STORE = "Only app.server.main names a store"
TABLE_PROGRAM = "The table program imports nothing else of ours but routing"


def lint_imports(where: Path) -> str:
    done = subprocess.run(
        [LINT_IMPORTS, "--no-cache"],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_all_five_contracts_hold() -> None:
    assert "Contracts: 5 kept, 0 broken." in lint_imports(ROOT)


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("app/routing/planted.py", "import app.render", LAYERS),
        ("app/render/planted.py", "from app import wire", LAYERS),
        ("app/wire.py", "import app.server", LAYERS),
        ("app/agent/planted.py", "from app.server import edit", LAYERS),
        ("app/server/planted.py", "import app.agent.process", LAYERS),
        ("app/a_room_nobody_drew.py", "import json", LAYERS),
        ("app/routing/planted.py", "from pydantic import BaseModel", PURE),
        ("app/routing/planted.py", "import random", PURE),
        ("app/render/planted.py", "from time import time", PURE),
        ("app/render/planted.py", "import os.path", PURE),
        ("app/render/opensmtpd/planted.py", "import logging", PURE),
        ("app/server/planted.py", "import subprocess", CHILDREN),
        ("app/agent/planted.py", "from subprocess import run", CHILDREN),
        ("app/server/edit.py", "import app.server.store", STORE),
        ("app/server/api/planted.py", "from app.server import store", STORE),
        ("app/table_program.py", "import app.wire", TABLE_PROGRAM),
        ("app/table_program.py", "from app import settings", TABLE_PROGRAM),
    ],
)
def test_a_planted_violation_is_caught(
    copy: Path, module: str, statement: str, contract: str
) -> None:
    with (copy / module).open("a") as planted:
        planted.write(f"\n{statement}\n")
    assert f"{contract} BROKEN" in lint_imports(copy)
