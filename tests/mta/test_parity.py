"""What `resolve` says is what a real smtpd does, over random routing tables and envelopes.

And the other way round: were the core wrong in any one place, what the daemon did would say so.
"""

import os
import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.conftest import Tell
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
from tests.mta.parity.mutations import MUTATIONS, Mutation
from tests.mta.parity.observation import Ward, rendered

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def ward() -> Iterator[Ward]:
    opened = Ward.open()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def campaign(ward: Ward) -> Campaign:
    seed = int(os.environ.get("RELAYMAP_PARITY_SEED", "0")) or secrets.randbelow(2**31) + 1
    return run(seed, ward)


def test_where_resolve_says_mail_goes_is_where_it_arrives(campaign: Campaign, tell: Tell):
    for line in report(campaign):
        tell(line)
    assert len(campaign.trials) >= TABLES
    assert campaign.envelopes >= TABLES * ENVELOPES >= 400
    found = disagreements(campaign.trials)
    assert not found, "\n".join([f"{len(found)} disagreements, seed {campaign.seed}:", *found])


def test_every_condition_not_outcome_and_rule_position_is_hit_ten_times(campaign: Campaign):
    assert missing(campaign) == []


def test_counts_agree_with_shares(campaign: Campaign):
    found = spreads(campaign.trials)
    assert len(found) >= 10
    assert [spread for spread in found if not spread.agrees()] == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_a_core_that_is_wrong_in_one_place_disagrees_with_the_daemon(
    campaign: Campaign,
    monkeypatch: pytest.MonkeyPatch,
    tell: Tell,
    mutation: Mutation,
):
    if mutation.of_core is not None:
        mutation.of_core(monkeypatch)
        # The files do not hang on what was broken: the daemon would have done the same.
        for trial in campaign.trials:
            assert rendered(trial.table, trial.target) == trial.files
    seen_wrong = [replace(trial, table=mutation.of_table(trial.table)) for trial in campaign.trials]
    found = disagreements(seen_wrong)
    tell(f"{len(found):4d} disagreements: {mutation}")
    assert found


def test_an_unbroken_core_agrees_again(campaign: Campaign):
    assert disagreements(campaign.trials) == []
