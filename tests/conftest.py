"""What every test shares: no skip is silent, chance is repeatable, what was counted is printed."""

import os
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings

# No example database: a failure prints the blob and the seed that repeat it, on any machine.
settings.register_profile("relaymap", deadline=None, print_blob=True, database=None)
settings.load_profile("relaymap")

_REQUIRE_ALL = os.environ.get("RELAYMAP_REQUIRE_ALL") == "1"
_NOT_INSTALLED = Path(os.environ.get("VENV", ".venv"), ".not-installed")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


Tell = Callable[[str], None]
_TOLD = "told"


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Take a line that is printed at the end, whatever process the test runs in."""
    return partial(record_property, _TOLD)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if _REQUIRE_ALL and report.outcome == "skipped":
        report.longrepr = f"skipped, and RELAYMAP_REQUIRE_ALL=1 allows no skip: {_reason(report)}"
        report.outcome = "failed"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    _print_told(terminalreporter)
    _print_skipped(terminalreporter)


def _print_told(terminalreporter: pytest.TerminalReporter) -> None:
    told: dict[str, list[str]] = {}
    for report in (each for found in terminalreporter.stats.values() for each in found):
        if getattr(report, "when", None) == "call":
            lines = [str(line) for name, line in report.user_properties if name == _TOLD]
            told.setdefault(report.nodeid.partition("::")[0], []).extend(lines)
    for file, lines in sorted(told.items()):
        if lines:
            terminalreporter.section(f"told by {file}")
            terminalreporter.write_line("\n".join(lines))


def _print_skipped(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section("NOT CHECKED ON THIS MACHINE", yellow=True)
    if _NOT_INSTALLED.exists():
        terminalreporter.write(_NOT_INSTALLED.read_text(encoding="utf-8"))
    for report in skipped:
        terminalreporter.write_line(f"{report.nodeid}: {_reason(report)}")
