"""Log lines in both forms, and metrics under the names that people rely on."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from app import __version__
from app.observe import REQUEST_ID, Counts, Durations, Metrics, event, failure, start_log

NAMES = {
    "relaymap_http_requests_total": ("route", "method", "status"),
    "relaymap_http_request_seconds": (),
    "relaymap_resolve_total": ("outcome",),
    "relaymap_resolve_seconds": (),
    "relaymap_revision": (),
    "relaymap_mta_observed_revision": ("mta",),
    "relaymap_mta_seen_seconds": ("mta",),
    "relaymap_pushes_total": ("state", "reload"),
    "relaymap_push_seconds": (),
    "relaymap_relay_up": ("mta", "relay_map", "relay"),
    "relaymap_build_info": ("version",),
}
"""As the operations manual has them."""


@pytest.fixture(autouse=True)
def other_logs() -> Iterator[None]:
    """Leave the log of the test run as it was."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before


def test_a_json_line_has_its_time_level_event_and_what_it_is_about() -> None:
    stream = io.StringIO()
    start_log("json", "info", stream)
    marker = REQUEST_ID.set("abc123")
    event("push-applied", push=7, mta="mx-out-1", revision=42, reload="restart")
    REQUEST_ID.reset(marker)
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "event": "push-applied",
        "request_id": "abc123",
        "push": 7,
        "mta": "mx-out-1",
        "revision": 42,
        "reload": "restart",
    }


def test_a_line_is_one_line_whatever_is_in_it() -> None:
    stream = io.StringIO()
    start_log("json", "info", stream)
    event("agent-said", detail="one\ntwo \u2028 three")
    assert stream.getvalue().count("\n") == 1


def test_a_failure_has_its_traceback_in_the_same_line() -> None:
    stream = io.StringIO()
    start_log("json", "info", stream)
    try:
        int("none")
    except ValueError:
        failure("head-not-followed")
    line = json.loads(stream.getvalue())
    assert (line["level"], line["event"]) == ("error", "head-not-followed")
    assert "ValueError" in line["traceback"]


def test_text_is_for_eyes() -> None:
    stream = io.StringIO()
    start_log("text", "info", stream)
    event("push-refused", logging.WARNING, push=7, mta="mx-out-1")
    assert stream.getvalue().endswith(" warning push-refused push=7 mta=mx-out-1\n")


def test_json_is_written_where_no_terminal_is() -> None:
    stream = io.StringIO()
    start_log(None, "info", stream)
    event("listening")
    assert json.loads(stream.getvalue())["event"] == "listening"


def test_less_than_the_level_is_not_written() -> None:
    stream = io.StringIO()
    start_log("json", "warning", stream)
    event("listening")
    logging.getLogger("uvicorn.error").info("chatter")
    assert stream.getvalue() == ""


def test_what_libraries_warn_of_is_a_line_too() -> None:
    stream = io.StringIO()
    start_log("json", "info", stream)
    logging.getLogger("alembic").warning("look at %s", "this")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["logger"], line["text"]) == ("log", "alembic", "look at this")


def test_every_metric_has_the_name_and_labels_that_are_relied_on() -> None:
    metrics = Metrics()
    found = {}
    for each in vars(metrics).values():
        if isinstance(each, Counts | Durations):
            (family,) = each.collect()
            suffix = "_total" if isinstance(each, Counts) else ""
            found[family.name + suffix] = each.labels
        elif hasattr(each, "_labelnames"):
            suffix = "_total" if each._type == "counter" else ""
            found[each._name + suffix] = tuple(each._labelnames)
    assert found | {"relaymap_build_info": ("version",)} == NAMES
    assert f'relaymap_build_info{{version="{__version__}"}} 1.0' in metrics.text().decode()


def test_two_servers_in_one_process_share_no_metric() -> None:
    first, second = Metrics(), Metrics()
    first.revision.set(42)
    assert "relaymap_revision 42.0" in first.text().decode()
    assert "relaymap_revision 0.0" in second.text().decode()


def test_durations_are_a_histogram_and_many_alike_count_as_many() -> None:
    durations = Durations("d", "Time.", (0.1, 1.0))
    for seconds, times in ((0.1, 1), (0.5, 3), (2.0, 1)):
        durations.observe(seconds, times)
    (family,) = durations.collect()
    found = {(each.name, each.labels.get("le")): each.value for each in family.samples}
    assert found == {
        ("d_bucket", "0.1"): 1,
        ("d_bucket", "1.0"): 4,
        ("d_bucket", "+Inf"): 5,
        ("d_count", None): 5,
        ("d_sum", None): 3.6,
    }
