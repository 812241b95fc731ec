"""The pinned requirements: hashes and no address, and what runs is what was tested."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PINNED = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[^ ;]+)(?: ; (?P<marker>.*?))? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def pins(path: Path) -> dict[str, str]:
    found = map(PIN.match, path.read_text(encoding="ascii").splitlines())
    return {pin["name"]: pin["version"] for pin in found if pin}


def required(lines: list[str]) -> set[str]:
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines)
    return {re.sub(r"[-_.]+", "-", name.group()).lower() for name in names if name}


def test_the_four_files_are_there() -> None:
    assert [path.name for path in PINNED] == ["dev.txt", "fuzz.txt", "run.txt", "uv.txt"]


@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.name)
def test_every_line_is_a_pin_or_a_hash(path: Path) -> None:
    """So there is no index, no link, no path of the machine that made the file."""
    lines = path.read_text(encoding="ascii").splitlines()
    assert lines
    assert [line for line in lines if not PIN.match(line) and not HASH.match(line)] == []


def test_tests_run_the_versions_that_are_installed_to_run() -> None:
    run, dev = pins(ROOT / "requirements/run.txt"), pins(ROOT / "requirements/dev.txt")
    assert {name: dev.get(name) for name in run} == run


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert (
        required(project["project"]["dependencies"]) <= pins(ROOT / "requirements/run.txt").keys()
    )
    assert (
        required(project["dependency-groups"]["dev"]) <= pins(ROOT / "requirements/dev.txt").keys()
    )
