"""Names and habits that no linter knows: what a file may be called, what its first line says."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = ("app", "tests", "bench")
MODULES = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))
OURS = [path for path in MODULES if path.is_relative_to(ROOT / "app")]
REFUSED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
DEBT = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_file_or_room_has_a_name_that_says_nothing() -> None:
    named = {part for path in MODULES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not named & REFUSED_NAMES


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_first_line_of_a_module_says_its_one_job(path: Path) -> None:
    first = (ast.get_docstring(ast.parse(path.read_bytes())) or "").partition("\n")[0]
    assert first.endswith("."), "one sentence, on one line, with a full stop"
    assert ". " not in first.replace("e.g. ", "").replace("i.e. ", ""), "one sentence"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_debts_are_issues_and_not_comments(path: Path) -> None:
    if path != Path(__file__):
        assert not DEBT.search(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_error_is_swallowed(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: names no error"
            assert not all(isinstance(each, ast.Pass) for each in node.body), (
                f"line {node.lineno}: catches an error and does nothing about it"
            )


@pytest.mark.parametrize("path", OURS, ids=name)
def test_imports_are_at_the_top(path: Path) -> None:
    """The command line is the exception: `relaymap resolve` must not load a web server."""
    if path == ROOT / "app/cli.py":
        return
    for function in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                assert not isinstance(node, ast.Import | ast.ImportFrom), f"line {node.lineno}"
