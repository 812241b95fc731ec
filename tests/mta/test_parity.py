"""What `resolve` says is what a real smtpd does, over random routing tables and envelopes."""

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.mta.conftest import Report
from tests.mta.parity.campaign import (
    ENVELOPES,
    TABLES,
    Campaign,
    disagreements,
    missing,
    report,
    run,
    spreads,
)
from tests.mta.parity.observation import Ward

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def ward() -> Iterator[Ward]:
    opened = Ward.open()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def campaign(ward: Ward, parity_report: Report) -> Campaign:
    seed = int(os.environ.get("RELAYMAP_PARITY_SEED", "0")) or secrets.randbelow(2**31) + 1
    parity_report(f"seed {seed}: RELAYMAP_PARITY_SEED={seed} repeats it")
    finished = run(seed, ward)
    for line in report(finished):
        parity_report(line)
    return finished


def test_where_resolve_says_mail_goes_is_where_it_arrives(campaign: Campaign):
    assert len(campaign.trials) >= TABLES
    assert campaign.envelopes >= TABLES * ENVELOPES >= 400
    found = disagreements(campaign.trials)
    assert not found, "\n".join([f"{len(found)} disagreements, seed {campaign.seed}:", *found])


def test_every_condition_not_outcome_and_rule_position_is_hit_ten_times(campaign: Campaign):
    assert missing(campaign.hits) == []


def test_counts_agree_with_shares(campaign: Campaign):
    found = spreads(campaign.trials)
    assert len(found) >= 10
    assert [spread for spread in found if not spread.agrees()] == []
