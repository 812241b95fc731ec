"""What rules ask for is what the files say, envelope by envelope."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings

from app.render.generation import Secret
from app.render.opensmtpd.actions import hop_digest
from app.render.opensmtpd.read_back import check_read_back
from app.render.opensmtpd.render import render
from app.routing.envelope import Envelope
from app.routing.errors import NotExpressible
from app.routing.next_hop import ViaTable
from app.routing.routing_table import RoutingTable
from app.routing.rule import Reject
from app.routing.table import look_up
from tests.unit.render.opensmtpd.samples import relay, routing
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


def test_only_passwords_of_labels_that_enabled_rules_use_reach_the_mta() -> None:
    table = routing(relay("tls://lab@r.test"), {**relay("tls://off@r.test"), "enabled": False})
    given = {name: Secret(name, 1, "user", f"word-{name}") for name in ("lab", "off", "other")}
    files = {file.name: file.content for file in render(table, given, NEW_TARGET).files}
    assert files["credentials"] == b"lab\tuser:word-lab\n"
    assert not any(b"word-" in body for name, body in files.items() if name != "credentials")


def test_a_label_whose_password_was_not_given_is_refused_by_name() -> None:
    with pytest.raises(NotExpressible) as refused:
        render(routing(relay("tls://lab@r.test")), {}, NEW_TARGET)
    assert [(r.subject, r.code) for r in refused.value.reasons] == [
        ("credentials/lab", "credential")
    ]


def test_no_label_means_no_credentials_file() -> None:
    assert render(routing(relay()), SECRETS, TARGET).file("credentials") is None
