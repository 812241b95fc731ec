"""The committed OpenAPI document is the one that the code makes, and a valid one."""

import json
import subprocess
import sys
from pathlib import Path

from openapi_spec_validator import validate

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "openapi/openapi.json"


def test_the_committed_document_is_fresh() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "app", "openapi"],
        cwd=ROOT,
        capture_output=True,
        timeout=50,
        check=True,
    )
    assert COMMITTED.read_bytes() == made.stdout, "run: make openapi"


def test_the_committed_document_is_valid() -> None:
    validate(json.loads(COMMITTED.read_text(encoding="utf-8")))
