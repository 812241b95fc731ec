"""What tests with a real daemon share: a machine inside, and what stands around the daemon there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mta.bed.dns import Dns
from tests.mta.bed.injector import Injector
from tests.mta.bed.namespace import Namespace, missing
from tests.mta.bed.sinks import Sinks
from tests.mta.bed.smtpd import CIPHERS_6_8, Smtpd

_HERE = Path(__file__).parent
_LIMIT_S = 180
"""For a test that names none: several waits, each of which only a broken one sits out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if _HERE in item.path.parents]
    reason = missing() if ours else None
    for item in ours:
        item.add_marker("mta")
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_LIMIT_S))
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


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
