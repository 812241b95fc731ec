"""The capability table as people read it, as the API answers it, and as the renderer obeys it."""

from collections.abc import Iterator
from itertools import product

import pytest

from app.render.generation import Generation, Target
from app.render.opensmtpd import live_read_back
from app.render.opensmtpd.capabilities import (
    CAPABILITIES,
    Capability,
    Verdict,
    Version,
    notices,
    reasons,
)
from app.render.opensmtpd.live import render_live
from app.render.opensmtpd.read_back import check_read_back
from app.render.opensmtpd.render import render
from app.render.opensmtpd.rows import refusal
from app.routing.decision import assign, needed
from app.routing.document import Document
from app.routing.errors import NotExpressible
from tests.unit.render.opensmtpd.samples import (
    POLICIES,
    SECRETS,
    TARGET,
    Sample,
    matching,
    of_version,
    relay,
    routing,
    samples,
)
from tests.vectors.rows import rows

TABLE = rows("opensmtpd_capabilities")
VERSIONS = ((6, 7), (6, 8), (7, 2), (7, 3), (7, 4), (7, 5), (7, 8))
BIG = {"list-size", "list-lines", "match-lines", "regex-lines", "table-size", "condition-size"}
SAMPLES = samples()


def asked(row: Capability) -> Iterator[tuple[Sample, Version]]:
    """Samples of a row with the versions to ask about: all, or the ends for those that take long."""
    versions = VERSIONS[1::5] if row.code in BIG else VERSIONS
    return product(SAMPLES[row.code], versions)


def rendered(sample: Sample, target: Target, *, live: bool) -> Generation:
    if live:
        return render_live(sample.table, assign({}, sample.table), target).files
    return render(sample.table, SECRETS, target)


ABOUT = {"too-old": "version", "actions": "rules"}
"""What reasons are about that are about no rule."""


def cells(row: Capability) -> dict[str, str]:
    return {
        "code": row.code,
        "feature": row.feature,
        "since": "{}.{}".format(*row.since),
        "before": "" if row.before is None else "{}.{}".format(*row.before),
        "verdict": row.verdict.value,
        "mode": row.mode.value,
        "detail": row.detail,
    }


def test_the_table_for_people_and_the_rows_of_the_api_are_the_same() -> None:
    assert [cells(row) for row in CAPABILITIES] == TABLE


def test_codes_are_unique_and_every_row_has_a_sample() -> None:
    codes = [row.code for row in CAPABILITIES]
    assert len(set(codes)) == len(codes)
    assert set(SAMPLES) == set(codes)


REFUSED = [row for row in CAPABILITIES if row.verdict is Verdict.REFUSED]
TAKEN = [row for row in CAPABILITIES if row.verdict is not Verdict.REFUSED]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.code)
def test_what_a_row_refuses_is_refused_on_its_versions_with_the_rule_named(
    row: Capability,
) -> None:
    for (sample, version), live in product(asked(row), (False, True)):
        target = of_version(sample, version)
        found = reasons(sample.table, version, target if sample.by_target else None, live=live)
        covered = row.covers(version, live=live)
        assert any(reason.code == row.code for reason in found) == covered
        if not covered:
            continue
        subjects = {reason.subject.partition("-")[0] for reason in found}
        assert subjects == {ABOUT.get(row.code, "rules/rule")}
        with pytest.raises(NotExpressible) as refused:
            rendered(sample, target, live=live)
        assert row.code in {reason.code for reason in refused.value.reasons}


@pytest.mark.parametrize("row", TAKEN, ids=lambda row: row.code)
def test_what_a_row_takes_is_rendered_on_its_versions_and_reads_back(row: Capability) -> None:
    for (sample, version), live in product(asked(row), (False, True)):
        if not row.covers(version, live=live):
            continue
        target = of_version(sample, version)
        assert reasons(sample.table, version, target, live=live) == ()
        files = rendered(sample, target, live=live)
        if live:
            live_read_back.check(needed(sample.table, assign({}, sample.table)).values(), files)
        else:
            check_read_back(sample.table, SECRETS, files, target)


def test_a_detail_is_one_line_without_a_full_stop_and_a_reason_begins_with_what_it_is_about() -> (
    None
):
    for row in CAPABILITIES:
        assert row.detail.isprintable()
        assert row.detail == row.detail.strip().rstrip(".")
    found = refusal("policy", (6, 8), "rules/a", "relay map m has policy hash")
    assert found is not None
    assert found.detail.startswith("relay map m has policy hash: ")


def test_every_reason_of_every_rule_is_given_at_once() -> None:
    one: Document = {"url": "smtp://r1.test"}
    table = routing(
        relay("map:hash"),
        relay("tls://r.test", ca="private", tls_verify=False, certificate="shown"),
        relay_maps={"hash": [one, {"url": "tls://r2.test", "priority": 1}]},
    )
    found = [(reason.subject, reason.code) for reason in reasons(table, (7, 8))]
    assert found == [
        ("rules/rule-1", "policy"),
        ("rules/rule-1", "priority"),
        ("rules/rule-1", "mixed-tls"),
        ("rules/rule-2", "ca-unverified"),
    ]


@pytest.mark.parametrize("policy", POLICIES)
def test_any_policy_over_one_relay_is_a_round_robin(policy: str) -> None:
    table = routing(relay(f"map:{policy}"), relay_maps={policy: [{"url": "smtp://r.test"}]})
    assert reasons(table, (6, 8), TARGET) == ()


def test_a_disabled_rule_is_no_reason() -> None:
    table = routing({**relay("map:none"), "enabled": False})
    assert reasons(table, (6, 8)) == ()


def test_what_is_accepted_and_differs_is_a_notice_of_the_rule() -> None:
    logins, to_mx = matching(auth_users=["*"]), routing(relay("mx"))
    assert [(n.subject, n.code) for n in notices(logins, (6, 8))] == [
        ("rules/rule-1", "auth-unreachable")
    ]
    assert [n.code for n in notices(to_mx, (7, 4))] == ["null-mx"]
    assert notices(logins, (7, 3)) == notices(to_mx, (7, 5)) == ()
