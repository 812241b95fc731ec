"""What the processes tell the people who run them: log lines on stderr, and metrics, named once."""

import json
import logging
import sys
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import accumulate
from typing import Literal, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app import __version__

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being answered; log lines carry it."""

_FACTS = ("request_id", "push", "mta", "revision")
_LOG = logging.getLogger("relaymap")


def event(name: str, level: int = logging.INFO, **facts: object) -> None:
    """Write one log line.

    Args:
        name: kebab-case, stable: people search and count by it.
        level: as in `logging`.
        facts: what it is about: `push`, `mta`, `revision` and further plain values. Never a secret,
            never a body, never a text that a client sent.
    """
    _LOG.log(level, name, extra={"event": name, "facts": facts})


def failure(name: str, **facts: object) -> None:
    """Write one log line at level error with the traceback of the error that is being handled."""
    _LOG.error(name, extra={"event": name, "facts": facts}, exc_info=True)


def _facts_of(record: logging.LogRecord) -> dict[str, object]:
    given: dict[str, object] = getattr(record, "facts", {})
    facts: dict[str, object] = {"request_id": REQUEST_ID.get()} | given
    ordered = {name: facts[name] for name in _FACTS if facts.get(name) is not None}
    return ordered | {name: value for name, value in facts.items() if name not in _FACTS}


def _time_of(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, event, what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "log"),
            **_facts_of(record),
        }
        if not hasattr(record, "event"):
            line |= {"logger": record.name, "text": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """The same for eyes."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it the traceback where there is one."""
        said = getattr(record, "event", None) or f"{record.name}: {record.getMessage()}"
        facts = " ".join(f"{name}={value}" for name, value in _facts_of(record).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.levelname.lower():7} {said} {facts}".rstrip()
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def start_log(
    form: Literal["json", "text"] | None, level: str, stream: TextIO | None = None
) -> None:
    """Send every log line of this process to one stream, in one form.

    Args:
        form: None means text on a terminal, JSON elsewhere.
        level: the least level that is written: `debug`, `info`, `warning`, `error`.
        stream: standard error unless given: standard output belongs to answers.
    """
    where = stream or sys.stderr
    chosen = form or ("text" if where.isatty() else "json")
    lines = logging.StreamHandler(where)
    lines.setFormatter(TextLines() if chosen == "text" else JsonLines())
    logging.basicConfig(handlers=[lines], level=level.upper(), force=True)
    # What libraries say about each request or statement is noise here, and may quote what was sent.
    for noisy in ("uvicorn", "httpx", "httpcore", "alembic", "sqlalchemy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_RESOLVE_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1, 1.0, 3.0)
_PUSH_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 86400.0)


class Count:
    """How many times something came.

    Attributes:
        times: so many.
    """

    __slots__ = ("times",)

    def __init__(self) -> None:
        self.times = 0


class Counts(Collector):
    """A counter that only one thread writes: the library's own takes a lock each time.

    Attributes:
        labels: their names.
    """

    def __init__(self, name: str, meaning: str, labels: tuple[str, ...]) -> None:
        self._name = name
        self._meaning = meaning
        self.labels = labels
        self._counts: defaultdict[tuple[str, ...], Count] = defaultdict(Count)

    def of(self, *labels: str) -> Count:
        """The count of these labels, for whoever counts often."""
        return self._counts[labels]

    def add(self, *labels: str) -> None:
        """Count something."""
        self._counts[labels].times += 1

    def collect(self) -> Iterable[Metric]:
        """As the registry asks for it."""
        found = CounterMetricFamily(self._name, self._meaning, labels=self.labels)
        for labels, count in self._counts.items():
            found.add_metric(labels, count.times)
        yield found


class Durations(Collector):
    """A histogram of seconds that only one thread writes, and that takes many alike at once."""

    labels: tuple[str, ...] = ()

    def __init__(self, name: str, meaning: str, buckets: tuple[float, ...]) -> None:
        self._name = name
        self._meaning = meaning
        self._buckets = buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count something that took so long, or so many things."""
        self._counts[bisect_left(self._buckets, seconds)] += times
        self._sum += seconds * times

    def collect(self) -> Iterable[Metric]:
        """As the registry asks for it."""
        found = HistogramMetricFamily(self._name, self._meaning)
        bounds = [*map(floatToGoString, self._buckets), "+Inf"]
        found.add_metric([], list(zip(bounds, accumulate(self._counts), strict=True)), self._sum)
        yield found


class Metrics:
    """Every metric, once; each server has a registry of its own, so that tests do not share one."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.http_requests = self._counts(
            "relaymap_http_requests",
            "Requests answered, by route template.",
            ("route", "method", "status"),
        )
        self.http_request_seconds = self._durations(
            "relaymap_http_request_seconds",
            "Time to answer a request; long polls count their waiting.",
            _REQUEST_BUCKETS,
        )
        self.resolved = self._counts(
            "relaymap_resolve", "Envelopes resolved, by outcome.", ("outcome",)
        )
        self.resolve_seconds = self._durations(
            "relaymap_resolve_seconds",
            "Time to resolve one envelope, MX look-ups included.",
            _RESOLVE_BUCKETS,
        )
        self.revision = self._gauge("relaymap_revision", "The head revision of routing.")
        self.mta_observed_revision = self._gauge(
            "relaymap_mta_observed_revision", "The revision that each MTA serves.", ("mta",)
        )
        self.mta_seen_seconds = self._gauge(
            "relaymap_mta_seen_seconds", "Seconds since each MTA's agent was heard of.", ("mta",)
        )
        self.pushes = self._counter(
            "relaymap_pushes", "Lines of pushes that ended, one an MTA.", ("state", "reload")
        )
        self.push_seconds = self._durations(
            "relaymap_push_seconds",
            "Time from a push to its confirmation by one MTA.",
            _PUSH_BUCKETS,
        )
        self.relay_up = self._gauge(
            "relaymap_relay_up",
            "Whether a relay answers, as each MTA's agent sees it.",
            ("mta", "relay_map", "relay"),
        )
        build = self._gauge("relaymap_build_info", "1, with the version.", ("version",))
        build.labels(__version__).set(1)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, meaning: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _counts(self, name: str, meaning: str, labels: tuple[str, ...]) -> Counts:
        counts = Counts(name, meaning, labels)
        self.registry.register(counts)
        return counts

    def _gauge(self, name: str, meaning: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def _durations(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Durations:
        durations = Durations(name, meaning, buckets)
        self.registry.register(durations)
        return durations
