"""Unit tests may not touch the outside world: an audit hook refuses files, sockets, children."""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

_TESTS = Path(__file__).resolve().parents[1]
_REFUSED = ("open", "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "sqlite3.")
_SOURCES = (".py", ".so")  # a late import, or a failure that quotes its source line
_COMPILED = "__pycache__"  # what an import reads, or writes the first time
_DATA = (f"{_TESTS}/vectors/", f"{_TESTS}/golden/")  # the behaviour that is being tested
_HYPOTHESIS = ".hypothesis"  # its table of Unicode, kept between runs

_armed = False


def _allowed(path: object) -> bool:
    name = str(path)
    kept = {_COMPILED, _HYPOTHESIS}
    return (
        name.endswith(_SOURCES) or name.startswith(_DATA) or not kept.isdisjoint(Path(name).parts)
    )


def _guard(event: str, args: tuple[object, ...]) -> None:
    if not _armed or not event.startswith(_REFUSED):
        return
    if event == "open" and _allowed(args[0]):
        return
    raise RuntimeError(f"a unit test did I/O: {event} {args!r:.120}")


sys.addaudithook(_guard)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    global _armed  # noqa: PLW0603  an audit hook cannot be removed, only disarmed
    _armed = "/unit/" in item.path.as_posix() and item.get_closest_marker("io") is None
    try:
        return (yield)
    finally:
        _armed = False
