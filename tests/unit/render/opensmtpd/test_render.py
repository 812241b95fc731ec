"""What rules ask for is what the files say, envelope by envelope."""

from dataclasses import replace
from random import Random

from hypothesis import given, settings

from app.render.opensmtpd.actions import hop_digest
from app.render.opensmtpd.read_back import check_read_back
from app.render.opensmtpd.render import render
from app.routing.envelope import Envelope
from app.routing.next_hop import ViaTable
from app.routing.routing_table import RoutingTable
from app.routing.rule import Reject
from app.routing.table import look_up
from tests.unit.render.plain_smtpd import PlainSmtpd
from tests.unit.render.routings import NEW_TARGET, SECRETS, SEEDS, TARGET, envelope, routing_table


def wanted_action(table: RoutingTable, envelope: Envelope) -> str | None:
    """The action that the rules lead to, by the core's own conditions and look-ups."""
    for rule in table.ordered:
        if rule.match.first_failing(envelope) is not None:
            continue
        if isinstance(rule.action, Reject):
            return f"rm-{rule.id}-reject"
        if not isinstance(rule.action.via, ViaTable):
            return f"rm-{rule.id}"
        name = rule.action.via.name
        hop = look_up(table.tables[name], table.entries[name], envelope)
        if hop is not None:
            return f"rm-{rule.id}-{hop_digest(hop)}"
    return None


@settings(max_examples=100)
@given(SEEDS)
def test_files_lead_every_envelope_to_the_action_that_its_rule_names(seed: int) -> None:
    table, random = routing_table(seed), Random(seed)
    daemon = PlainSmtpd(render(table, SECRETS, TARGET))
    for _ in range(40):
        asked = envelope(random)
        assert daemon.action(asked) == wanted_action(table, asked), str(asked)


@settings(max_examples=100)
@given(SEEDS)
def test_what_is_rendered_reads_back_as_the_model(seed: int) -> None:
    table = routing_table(seed)
    for target in (TARGET, NEW_TARGET):
        check_read_back(table, SECRETS, render(table, SECRETS, target), target)


@settings(max_examples=50)
@given(SEEDS)
def test_the_same_routing_gives_the_same_bytes_at_any_revision(seed: int) -> None:
    table = routing_table(seed)
    assert render(replace(table, revision=9), SECRETS, TARGET) == render(table, SECRETS, TARGET)
