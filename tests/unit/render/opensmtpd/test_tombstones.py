"""Actions that queued mail may still name stay defined, and mean what they last meant."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from app.render.generation import Generation, Secret, Target, Tombstone
from app.render.opensmtpd.read_back import check_read_back
from app.render.opensmtpd.render import render
from app.render.opensmtpd.spelling import Unwritable
from app.render.opensmtpd.tombstones import RenderedAction, actions_of, tombstones_for
from app.routing.document import Document
from app.routing.errors import NotExpressible
from app.routing.routing_table import EMPTY, RoutingTable
from tests.unit.render.opensmtpd.samples import CREDENTIAL, SECRETS, TARGET, over, relay, routing

NEXT_WEEK = 1_800_000_000
POOL: list[Document] = [{"url": "smtp://a.test"}, {"url": "smtp://b.test:26"}]


def test_the_actions_of_a_generation_are_read_with_the_relays_of_their_lists() -> None:
    table = routing(
        relay("map:pool"),
        relay(ttl_s=60),
        {"action": {"kind": "reject"}},
        relay_maps={"pool": POOL},
    )
    assert actions_of(render(table, {}, TARGET)) == {
        "rm-r1": RenderedAction("relay host <rm-m-pool>", ("smtp://a.test:25", "smtp://b.test:26")),
        "rm-r2": RenderedAction('relay host "smtp://r.test:25" ttl 60s'),
        "rm-r3-reject": RenderedAction(
            'expand-only virtual { "@" = "error:550 5.7.1 Refused by routing rule" }'
        ),
    }


def retire(old: dict[str, RenderedAction], new: set[str]) -> dict[str, Tombstone]:
    return {stone.action: stone for stone in tombstones_for(old, new, (), NEXT_WEEK)}


def test_an_action_that_goes_is_kept_with_what_it_last_said() -> None:
    old = actions_of(render(over("pool", *POOL), {}, TARGET))
    stones = retire(old, set())
    assert stones == {
        "rm-r1": Tombstone(
            "rm-r1", "relay host <rm-m-pool>", ("smtp://a.test:25", "smtp://b.test:26"), NEXT_WEEK
        )
    }


def test_an_action_that_only_refuses_is_not_kept_since_nothing_is_queued_under_it() -> None:
    old = actions_of(render(routing({"action": {"kind": "reject"}}), {}, TARGET))
    assert retire(old, set()) == {}


def test_a_rule_that_begins_to_refuse_leaves_its_old_action_behind() -> None:
    old = actions_of(render(routing(relay()), {}, TARGET))
    new = actions_of(render(routing({"action": {"kind": "reject"}}), {}, TARGET))
    assert set(retire(old, set(new))) == {"rm-r1"}


def test_a_tombstone_keeps_its_time_until_its_action_is_used_again() -> None:
    kept = Tombstone("rm-r1", "relay", (), 5)
    old = {"rm-r1": RenderedAction("relay"), "rm-r2": RenderedAction("relay ttl 60s")}
    both = tombstones_for(old, set(), (kept,), NEXT_WEEK)
    assert both == (kept, Tombstone("rm-r2", "relay ttl 60s", (), NEXT_WEEK))
    assert tombstones_for(old, {"rm-r1", "rm-r2"}, (kept,), NEXT_WEEK) == ()


def with_stones(*stones: Tombstone) -> Target:
    return replace(TARGET, tombstones=stones)


def test_a_retired_map_keeps_a_list_of_its_own_through_any_number_of_renderings() -> None:
    target = with_stones(
        *retire(actions_of(render(over("pool", *POOL), {}, TARGET)), set()).values()
    )
    for _ in range(3):
        generation = render(EMPTY, {}, target)
        check_read_back(EMPTY, {}, generation, target)
        listed = generation.file("t-rm-r1")
        assert listed is not None
        assert listed.content == b"# @list\nsmtp://a.test:25\nsmtp://b.test:26\n"
        stones = tombstones_for(actions_of(generation), set(), target.tombstones, NEXT_WEEK)
        assert stones == target.tombstones
        # An agent that lost its notes takes the text from the files: it must do as well.
        target = with_stones(*tombstones_for(actions_of(generation), set(), (), NEXT_WEEK))


def test_an_action_that_is_used_again_is_rendered_once() -> None:
    target = with_stones(Tombstone("rm-r1", "relay ttl 60s", (), 5))
    generation = render(routing(relay()), {}, target)
    assert actions_of(generation) == {"rm-r1": RenderedAction('relay host "smtp://r.test:25"')}


SECURE = Tombstone("rm-r7", 'relay host "smtps://lab@r.test:465" auth <rm-credentials> tls', (), 5)
LISTED = Tombstone(
    "rm-r8",
    "relay host <rm-m-pool> auth <rm-credentials> tls no-verify",
    ("smtps://a.test:465", "smtps://lab@r.test:465"),
    5,
)


def kept_for(table: RoutingTable, secrets: Mapping[str, Secret], stone: Tombstone) -> Generation:
    generation = render(table, secrets, with_stones(stone))
    check_read_back(table, secrets, generation, with_stones(stone))
    return generation


def content(generation: Generation, name: str) -> bytes:
    file = generation.file(name)
    assert file is not None
    return file.content


def test_a_retired_action_uses_a_secret_only_while_it_is_given() -> None:
    for secrets, lines in ((SECRETS, b"lab\tuser:password\n"), ({}, b"")):
        generation = kept_for(routing(relay()), secrets, SECURE)
        assert content(generation, "credentials") == lines
        assert actions_of(generation)["rm-r7"].text == SECURE.text


@pytest.mark.parametrize("hosts", [["other.test"], None], ids=["moved", "gone"])
def test_a_retired_relay_that_may_no_longer_have_the_password_gets_no_mail(
    hosts: list[str] | None,
) -> None:
    credentials = [] if hosts is None else [{**CREDENTIAL, "hosts": hosts}]
    generation = kept_for(routing(relay(), credentials=credentials), SECRETS, SECURE)
    assert actions_of(generation)["rm-r7"] == RenderedAction(
        "relay host <rm-t-rm-r7> auth <rm-credentials> tls", ()
    )
    assert content(generation, "credentials") == b""


def test_a_retired_relay_whose_certificate_nobody_checks_needs_leave_for_it() -> None:
    for leave, relays in ((True, LISTED.relays), (False, LISTED.relays[:1])):
        credentials = [{**CREDENTIAL, "allow_unverified": leave}]
        generation = kept_for(routing(relay(), credentials=credentials), SECRETS, LISTED)
        assert actions_of(generation)["rm-r8"].relays == relays


@pytest.mark.parametrize(
    "stone",
    [
        Tombstone('rm-r1" relay\n#', "relay", (), 5),
        Tombstone("out", "relay", (), 5),
        Tombstone("rm-r1-reject", "relay", (), 5),
        Tombstone("rm-r1", 'mda "/bin/sh -c id"', (), 5),
        Tombstone("rm-r1", 'relay host "smtp://a.test:25"\nmatch from any for any reject', (), 5),
        Tombstone("rm-r1", 'relay host "smtp://a.test:25" filter x', (), 5),
        Tombstone("rm-r1", 'relay host "bogus"', (), 5),
        Tombstone("rm-r1", "relay host </etc/passwd>", (), 5),
        Tombstone("rm-r1", "relay host <rm-m-pool>", ("smtp://a.test:25\n/x",), 5),
        Tombstone("rm-r1", "relay host <rm-m-pool>", ("a.test",), 5),
    ],
)
def test_a_tombstone_that_we_never_rendered_is_not_written(stone: Tombstone) -> None:
    with pytest.raises(Unwritable):
        render(EMPTY, {}, with_stones(stone))


def test_a_retired_action_whose_certificate_is_gone_is_refused_by_name() -> None:
    stone = Tombstone("rm-r7", 'relay pki "shown"', (), 5)
    check = replace(with_stones(stone), version=(7, 8))
    render(EMPTY, {}, check)
    with pytest.raises(NotExpressible) as refused:
        render(EMPTY, {}, replace(check, certificates=()))
    assert [(r.subject, r.code) for r in refused.value.reasons] == [
        ("actions/rm-r7", "certificate-unknown")
    ]


def test_a_retired_action_is_kept_by_a_version_that_would_not_take_it_from_a_rule() -> None:
    """Of its relays some demand TLS and some do not: from 7.3 on a rule may not say so."""
    relays = ("smtp://b.test:25", "smtps://a.test:465")
    mixed = Tombstone("rm-r8", "relay host <rm-m-pool>", relays, NEXT_WEEK)
    for version in ((6, 8), (7, 8)):
        target = replace(with_stones(mixed), version=version)
        generation = render(EMPTY, {}, target)
        check_read_back(EMPTY, {}, generation, target)
        assert actions_of(generation)["rm-r8"].relays == relays


def test_what_was_written_by_hand_into_our_file_retires_nothing() -> None:
    by_hand = RenderedAction('relay host "smtp://elsewhere.test"')
    assert retire({"hand": by_hand, "rm-r1": by_hand}, set()).keys() == {"rm-r1"}
