"""What `resolve` says is what a real smtpd does that asks the table program for everything.

An agent pushes; most routings take no restart. Relays that health calls down are told meanwhile.
"""

import os
import secrets
from collections.abc import Callable, Iterator

import pytest

from app.wire import Reload
from tests.conftest import Tell
from tests.mta.bed.sinks import TooFew
from tests.mta.bed.smtpd import NotReady
from tests.mta.parity.broken_program import BREAKS
from tests.mta.parity.campaign import (
    ENVELOPES,
    TABLES,
    VARIATIONS,
    Campaign,
    disagreements,
    missing,
    report,
    run,
    spreads,
    trial,
)
from tests.mta.parity.live_ward import LiveWard

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def ward() -> Iterator[LiveWard]:
    opened = LiveWard.open()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def campaign(ward: LiveWard) -> Campaign:
    seed = int(os.environ.get("RELAYMAP_PARITY_SEED", "0")) or secrets.randbelow(2**31) + 1
    return run(seed, ward)


def test_where_resolve_says_mail_goes_is_where_it_arrives(campaign: Campaign, tell: Tell):
    for line in report(campaign):
        tell(line)
    assert len(campaign.trials) >= TABLES
    assert campaign.envelopes >= TABLES * ENVELOPES >= 400
    found = disagreements(campaign.trials)
    assert not found, "\n".join([f"{len(found)} disagreements, seed {campaign.seed}:", *found])


def test_every_condition_policy_and_kind_of_table_is_hit_often(campaign: Campaign):
    assert missing(campaign) == []


def test_a_variation_takes_no_restart(campaign: Campaign):
    took = [each.reload for n, each in enumerate(campaign.trials) if n % (1 + VARIATIONS)]
    assert took == [Reload.LIVE] * len(took)


def test_counts_agree_with_shares(campaign: Campaign):
    found = spreads(campaign.trials)
    assert found
    assert [spread for spread in found if not spread.agrees()] == []


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.__name__)
def test_a_program_that_is_wrong_in_one_place_is_seen(
    ward: LiveWard, campaign: Campaign, broken: Callable[[], None], tell: Tell
):
    ward.break_program(broken.__name__)
    try:
        found: list[str] = []
        tried = 0
        for each in campaign.trials:
            tried += 1
            try:
                found = disagreements([trial(ward, each.table, each.sent, each.down)])
            except (NotReady, TooFew) as trouble:  # mail that goes nowhere is seen as well
                found = [str(trouble)]
            if found:
                break
    finally:
        ward.mend_program()
    tell(f"{broken.__name__}: {len(found)} disagreements in table {tried}")
    assert found


def test_a_mended_program_agrees_again(ward: LiveWard, campaign: Campaign):
    first = campaign.trials[0]
    assert disagreements([trial(ward, first.table, first.sent, first.down)]) == []
