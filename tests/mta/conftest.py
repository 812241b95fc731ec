"""What tests with a real daemon share: a machine inside, and what stands around the daemon there."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mta.bed.dns import Dns
from tests.mta.bed.injector import Injector
from tests.mta.bed.namespace import Namespace, missing
from tests.mta.bed.sinks import Sinks
from tests.mta.bed.smtpd import CIPHERS_6_8, Smtpd

Report = Callable[[str], None]

_HERE = Path(__file__).parent
_LINES = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if _HERE in item.path.parents]
    reason = missing() if ours else None
    for item in ours:
        item.add_marker("mta")
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LINES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = terminalreporter.config.stash[_LINES]
    if lines:
        terminalreporter.section("PARITY WITH A REAL OPENSMTPD")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def parity_report(pytestconfig: pytest.Config) -> Report:
    """Take a line that is printed at the end, whether the tests fail or not."""
    return pytestconfig.stash[_LINES].append


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace.open() as opened:
        yield opened


@pytest.fixture
def dns(namespace: Namespace) -> Dns:
    return Dns.open(namespace, {})


@pytest.fixture
def sinks(namespace: Namespace) -> Sinks:
    return Sinks.open(namespace)


@pytest.fixture
def injector(namespace: Namespace) -> Injector:
    return Injector.open(namespace, CIPHERS_6_8)


@pytest.fixture
def smtpd(namespace: Namespace, dns: Dns) -> Smtpd:
    # It looks up who connects before it greets: without a DNS that answers, it stands still.
    return Smtpd(namespace)
