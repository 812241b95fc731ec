"""What ARCHITECTURE.md says always holds: each has a test, and one hand alone writes routing."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
SECTION = DOCUMENT.partition("## What always holds\n")[2].partition("\n## ")[0]
INVARIANTS = dict(re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |\Z)", SECTION, re.MULTILINE | re.DOTALL))


def functions(folder: Path) -> Iterator[str]:
    for path in folder.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name


TESTS = frozenset(functions(ROOT / "tests"))


def test_invariants_are_numbered_from_one_on() -> None:
    assert list(INVARIANTS) == [str(number) for number in range(1, 17)]


@pytest.mark.parametrize("number", INVARIANTS)
def test_an_invariant_names_a_test_that_is_there(number: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", INVARIANTS[number]))
    assert named
    assert named <= TESTS


def commits(tree: ast.Module) -> list[int]:
    """Where a commit of anything is named, to call it or to pass it on."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "commit"
    ]


def test_only_the_editor_writes_routing() -> None:
    """The store itself commits transactions; nobody else names a commit but `edit.py`."""
    inside = ROOT / "app/server/store"
    named = {
        path.relative_to(ROOT).as_posix(): len(commits(ast.parse(path.read_bytes())))
        for path in (ROOT / "app").rglob("*.py")
        if not path.is_relative_to(inside)
    }
    assert {file: count for file, count in named.items() if count} == {"app/server/edit.py": 1}


def test_a_second_writer_would_be_found() -> None:
    planted = (
        "async def f(services):\n    await services.store.commit(edit)\n    g = store.commit\n"
    )
    assert sorted(commits(ast.parse(planted))) == [2, 3]
