"""Names and habits that no linter knows: what a file may be called, what its first line says."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TREES = ("app", "tests", "bench")
MODULES = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))
OURS = [path for path in MODULES if path.is_relative_to(ROOT / "app")]
REFUSED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
DEBT = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")


@cache
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_bytes()) for path in MODULES}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_file_or_room_has_a_name_that_says_nothing() -> None:
    named = {part for path in MODULES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not named & REFUSED_NAMES


def is_one_sentence(line: str) -> bool:
    return line.endswith(".") and ". " not in line


def test_the_first_line_of_a_module_says_its_one_job() -> None:
    """One sentence, on one line, with a full stop."""
    first = {
        name(path): (ast.get_docstring(tree) or "").partition("\n")[0]
        for path, tree in trees().items()
    }
    assert {file: line for file, line in first.items() if not is_one_sentence(line)} == {}


def test_debts_are_issues_and_not_comments() -> None:
    others = [path for path in MODULES if path != Path(__file__)]
    assert [name(path) for path in others if DEBT.search(path.read_text(encoding="utf-8"))] == []


def swallowed(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            does_nothing = all(isinstance(each, ast.Pass) for each in node.body)
            if node.type is None or does_nothing:
                yield node.lineno


def test_no_error_is_swallowed() -> None:
    """Each `except` names an error, and does something about it."""
    found = [f"{name(path)}:{line}" for path, tree in trees().items() for line in swallowed(tree)]
    assert found == []


def inner_imports(tree: ast.Module) -> Iterator[int]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield node.lineno


def test_imports_are_at_the_top() -> None:
    """The command line is the exception: `relaymap resolve` must not load a web server."""
    command_line = {ROOT / "app/cli.py", ROOT / "app/__main__.py"}
    others = (path for path in OURS if path not in command_line)
    found = [f"{name(path)}:{line}" for path in others for line in inner_imports(trees()[path])]
    assert found == []


def test_what_is_looked_for_is_found_where_it_is() -> None:
    bad = "def f():\n    import os\n    try:\n        g()\n    except ValueError:\n        pass\n"
    assert list(swallowed(ast.parse(bad))) == [5]
    assert list(swallowed(ast.parse(bad.replace(" ValueError", "")))) == [5]
    assert list(swallowed(ast.parse(bad.replace("pass", "raise")))) == []
    assert list(inner_imports(ast.parse(bad))) == [2]
    assert not is_one_sentence("Two. Sentences.")
    assert not is_one_sentence("A question?")
    assert is_one_sentence("What a file is for, and what it is not.")
