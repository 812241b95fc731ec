"""The life of a line: what reports and time make of it, and what a push and an MTA come to."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.server.fleet import standing_of, version_of
from app.server.lines import (
    RETRY_AFTER,
    SILENT_AFTER,
    WAITS_FOR,
    Pin,
    after_report,
    after_time,
    is_offered,
    next_look,
    push_state,
    refused,
    withdrawn,
)
from app.server.storage import LineRow, ReportRow
from app.wire import LineState, MtaState, Observed, PushReport, Reload, Report

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PIN = Pin("h3kq", 42, "d" * 64)
SERVED = Observed(history="h3kq", revision=42, model_digest="d" * 64, files_digest="f" * 64)
OLD = Observed(history="h3kq", revision=41, model_digest="c" * 64, files_digest="e" * 64)


def line(state: LineState = LineState.WAITING, push: int = 7, **rest) -> LineRow:
    return LineRow(push, "mx-out-1", state, **rest)


def report(
    state: LineState | None = None,
    *,
    push: int = 7,
    observed: Observed | None = OLD,
    reload: Reload = Reload.RESTART,
    **rest,
) -> Report:
    said = None if state is None else PushReport(push=push, state=state, reload=reload)
    return Report(agent="a1", state=MtaState.LIVE, observed=observed, push=said, **rest)


def test_a_waiting_line_begins_when_its_agent_says_so() -> None:
    begun = after_report(line(), report(LineState.APPLYING), PIN, NOW)
    assert (begun.state, begun.started_at, begun.finished_at) == (LineState.APPLYING, NOW, None)


def test_applied_is_believed_where_the_model_is_seen_in_force() -> None:
    applied = after_report(line(), report(LineState.APPLIED, observed=SERVED), PIN, NOW)
    assert applied.state is LineState.APPLIED
    assert applied.reload is Reload.RESTART
    assert applied.finished_at == NOW


@pytest.mark.parametrize("observed", [None, OLD])
def test_applied_is_not_believed_where_something_else_is_served(observed: Observed | None) -> None:
    said = after_report(line(), report(LineState.APPLIED, observed=observed), PIN, NOW)
    assert said.state is LineState.UNKNOWN


@pytest.mark.parametrize("state", [LineState.REFUSED, LineState.ROLLED_BACK])
def test_what_an_mta_refused_is_not_tried_again(state: LineState) -> None:
    ended = after_report(line(LineState.APPLYING), report(state), PIN, NOW)
    assert (ended.state, ended.next_try_at) == (state, None)
    assert not is_offered(ended, 0, NOW + timedelta(days=30))


def test_what_failed_is_tried_again_after_growing_pauses() -> None:
    pauses = []
    failed = line()
    for _ in range(6):
        failed = after_report(failed, report(LineState.FAILED), PIN, NOW)
        assert failed.next_try_at is not None
        pauses.append(failed.next_try_at - NOW)
        assert not is_offered(failed, 7, failed.next_try_at - timedelta(seconds=1))
        assert is_offered(failed, 7, failed.next_try_at)
    assert pauses == [*RETRY_AFTER, RETRY_AFTER[-1], RETRY_AFTER[-1]]
    assert [pause.total_seconds() for pause in RETRY_AFTER] == [10, 60, 300, 900]


def test_a_failure_that_comes_right_counts_no_more() -> None:
    failed = after_report(line(), report(LineState.FAILED), PIN, NOW)
    trying = after_report(failed, report(LineState.APPLYING), PIN, NOW)
    assert (trying.state, trying.next_try_at, trying.finished_at) == (
        LineState.APPLYING,
        None,
        None,
    )
    applied = after_report(trying, report(LineState.APPLIED, observed=SERVED), PIN, NOW)
    assert applied.state is LineState.APPLIED


@pytest.mark.parametrize(
    "state", [LineState.WITHDRAWN, LineState.SUPERSEDED, LineState.EXPIRED, LineState.UNKNOWN]
)
def test_what_an_agent_did_wins_over_what_was_made_of_the_line_meanwhile(state: LineState) -> None:
    applied = after_report(line(state), report(LineState.APPLIED, observed=SERVED), PIN, NOW)
    assert applied.state is LineState.APPLIED


def test_unknown_is_settled_by_what_is_seen() -> None:
    unknown = line(LineState.UNKNOWN)
    assert after_report(unknown, report(observed=OLD), PIN, NOW) == unknown
    assert after_report(unknown, report(observed=SERVED), PIN, NOW).state is LineState.APPLIED


def test_a_line_that_was_left_for_a_newer_push_is_superseded() -> None:
    left = after_report(line(LineState.APPLYING), report(LineState.APPLYING, push=8), PIN, NOW)
    assert left.state is LineState.SUPERSEDED
    waiting = after_report(line(), report(LineState.APPLYING, push=8), PIN, NOW)
    assert waiting.state is LineState.WAITING, "the store supersedes what waits, at the new push"


def test_a_report_about_an_older_push_leaves_a_newer_line_alone() -> None:
    newer = line(push=9)
    assert after_report(newer, report(LineState.APPLIED, push=7), PIN, NOW) == newer


@pytest.mark.parametrize(
    ("state", "known", "offered"),
    [
        (LineState.WAITING, 0, True),
        (LineState.WAITING, 7, True),  # it asked, and died before it told us that it began
        (LineState.WAITING, 99, True),  # it remembers a push of this database's life before
        (LineState.APPLYING, 7, False),
        (LineState.APPLYING, 6, True),
        (LineState.APPLIED, 7, False),
        (LineState.APPLIED, 0, True),
        (LineState.UNKNOWN, 7, False),
        (LineState.REFUSED, 0, False),
        (LineState.ROLLED_BACK, 0, False),
        (LineState.FAILED, 0, False),
        (LineState.SUPERSEDED, 0, False),
        (LineState.EXPIRED, 0, False),
        (LineState.WITHDRAWN, 0, False),
    ],
)
def test_who_is_given_the_model(state: LineState, known: int, *, offered: bool) -> None:
    assert is_offered(line(state), known, NOW) is offered


def test_what_waits_for_a_day_expires() -> None:
    waiting = line()
    almost = NOW + WAITS_FOR - timedelta(seconds=1)
    assert after_time(waiting, NOW, None, almost) == waiting
    assert after_time(waiting, NOW, None, NOW + WAITS_FOR).state is LineState.EXPIRED
    assert next_look(waiting, NOW, almost) == timedelta(seconds=1)


def test_an_agent_that_falls_silent_at_work_leaves_its_line_unknown() -> None:
    applying = line(LineState.APPLYING, started_at=NOW)
    late = NOW + SILENT_AFTER
    assert after_time(applying, NOW, None, late).state is LineState.UNKNOWN
    assert after_time(applying, NOW, NOW + timedelta(minutes=1), late) == applying
    assert after_time(applying, NOW, NOW - timedelta(days=1), late).state is LineState.UNKNOWN


@pytest.mark.parametrize("state", [LineState.APPLYING, LineState.APPLIED, LineState.REFUSED])
def test_only_what_has_not_begun_is_withdrawn(state: LineState) -> None:
    assert withdrawn(line(state), NOW) == line(state)
    assert withdrawn(line(), NOW).state is LineState.WITHDRAWN


def test_withdrawing_ends_the_tries_of_what_failed() -> None:
    failed = after_report(line(), report(LineState.FAILED), PIN, NOW)
    assert withdrawn(failed, NOW) == replace(failed, next_try_at=None)


def test_a_line_that_cannot_be_served_is_refused_before_anything_was_touched() -> None:
    ended = refused(line(), "why", NOW)
    assert (ended.state, ended.detail, ended.reload) == (LineState.REFUSED, "why", Reload.NONE)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ("applied applied", "applied"),
        ("applied waiting", "running"),
        ("failed applying", "running"),
        ("applied refused", "refused"),
        ("refused rolled-back", "rolled-back"),
        ("failed rolled-back applied", "failed"),
        ("unknown applied", "unknown"),
        ("unknown refused", "refused"),
        ("expired superseded withdrawn applied", "expired"),
        ("superseded withdrawn", "superseded"),
        ("withdrawn applied", "withdrawn"),
    ],
)
def test_a_push_runs_or_is_the_worst_of_its_lines(states: str, state: str) -> None:
    assert push_state(line(LineState(word)) for word in states.split()) == state


def standing(said: Report | None, wanted: Pin | None, age_s: int = 0) -> MtaState:
    row = None if said is None else ReportRow("mx-out-1", said, NOW - timedelta(seconds=age_s))
    return standing_of(row, wanted, 7, "h3kq", NOW).state


def seen(state: MtaState, observed: Observed | None, **rest) -> Report:
    return Report(agent="a1", state=state, observed=observed, **rest)


OTHER_LIFE = SERVED.model_copy(update={"history": "zzzz"})


@pytest.mark.parametrize(
    ("said", "wanted", "age_s", "state"),
    [
        (None, PIN, 0, MtaState.NEVER_SEEN),
        (seen(MtaState.LIVE, SERVED), PIN, 0, MtaState.LIVE),
        (seen(MtaState.LIVE, SERVED), PIN, 90, MtaState.LIVE),
        (seen(MtaState.LIVE, SERVED), PIN, 91, MtaState.UNKNOWN),
        (seen(MtaState.LIVE, OLD), PIN, 0, MtaState.BEHIND),
        (seen(MtaState.LIVE, None), PIN, 0, MtaState.BEHIND),
        (seen(MtaState.LIVE, OTHER_LIFE), PIN, 0, MtaState.BEHIND),
        (seen(MtaState.LIVE, None), None, 0, MtaState.LIVE),
        (seen(MtaState.LIVE, SERVED), None, 0, MtaState.LIVE),
        (seen(MtaState.LIVE, OTHER_LIFE), None, 0, MtaState.BEHIND),
        (seen(MtaState.DRIFTED, SERVED), PIN, 0, MtaState.DRIFTED),
        (seen(MtaState.STOPPED, SERVED), PIN, 0, MtaState.STOPPED),
        (seen(MtaState.UNKNOWN, SERVED), PIN, 0, MtaState.UNKNOWN),
        (seen(MtaState.LIVE, SERVED, behind_me=True), PIN, 0, MtaState.BEHIND),
    ],
)
def test_how_an_mta_stands(
    said: Report | None, wanted: Pin | None, age_s: int, state: MtaState
) -> None:
    assert standing(said, wanted, age_s) is state


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("6.8.0p2", (6, 8)),
        ("7.8.0", (7, 8)),
        ("7.10", (7, 10)),
        ("7.5.0p1-portable", (7, 5)),
        (None, None),
        ("", None),
        ("OpenSMTPD 6.8", None),
        ("7", None),
        ("7.x", None),
        ("99999999999.1", None),
    ],
)
def test_the_version_in_a_report(text: str | None, version: tuple[int, int] | None) -> None:
    assert version_of(text) == version
