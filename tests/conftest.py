"""What every test shares: a skip is never silent, chance is repeatable, async tests run on asyncio."""

import os
from collections.abc import Generator
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
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section("NOT CHECKED ON THIS MACHINE", yellow=True)
    if _NOT_INSTALLED.exists():
        terminalreporter.write(_NOT_INSTALLED.read_text(encoding="utf-8"))
    for report in skipped:
        terminalreporter.write_line(f"{report.nodeid}: {_reason(report)}")
