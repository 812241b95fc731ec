"""How conditions are spread over lists: exact ones are fast, regular expressions are not."""

import pytest

from app.render.generation import Generation
from app.render.opensmtpd.limits import MAX_REGEX_LINES
from app.render.opensmtpd.read_back import check_read_back
from app.render.opensmtpd.render import render
from app.routing.document import Document
from app.routing.envelope import Envelope, parse_mail_address
from app.routing.errors import NotExpressible
from app.routing.routing_table import RoutingTable
from tests.unit.render.opensmtpd.samples import TARGET, keyed, matching
from tests.unit.render.plain_smtpd import PlainSmtpd

DOMAINS = [f"d{n}.test" for n in range(MAX_REGEX_LINES + 1)]


def rendered(table: RoutingTable) -> Generation:
    generation = render(table, {}, TARGET)
    check_read_back(table, {}, generation, TARGET)
    return generation


def match_lines(generation: Generation) -> list[str]:
    conf = generation.file("relaymap.conf")
    assert conf is not None
    return [line for line in conf.content.decode().splitlines() if line.startswith("match")]


def takes(generation: Generation, sender: str, recipient: str = "u@x.test") -> bool:
    addresses = parse_mail_address(sender), parse_mail_address(recipient)
    return PlainSmtpd(generation).action(Envelope(*addresses, helo="h.test")) is not None


def test_a_short_mixed_condition_is_one_list() -> None:
    generation = rendered(matching(senders=["a.test", "*.b.test", "j@c.test"]))
    assert len(match_lines(generation)) == 1


def test_a_long_mixed_condition_is_an_exact_list_and_a_list_of_the_rest() -> None:
    generation = rendered(matching(senders=[*DOMAINS, "*.b.test"], helos=["h.test"]))
    start, end = "match from local for any helo <rm-r1-helos> mail-from ", ' action "rm-r1"'
    assert match_lines(generation) == [
        f"{start}<rm-r1-senders>{end}",
        f"{start}regex <rm-r1-senders-re>{end}",
    ]
    assert takes(generation, "j@d200.test")
    assert takes(generation, "j@a.b.test")
    assert not takes(generation, "j@b.test")


def test_two_long_conditions_are_four_lines_and_no_more() -> None:
    long = [*DOMAINS, "*.b.test"]
    generation = rendered(matching(senders=long, recipients=long))
    assert len(match_lines(generation)) == 4
    assert takes(generation, "j@d7.test", "j@a.b.test")
    assert not takes(generation, "j@d7.test", "j@b.test")


def test_many_recipient_domains_less_some_addresses_share_one_line() -> None:
    unwanted = ["abuse@d7.test", "d8.test", "abuse@other.test"]
    generation = rendered(matching(recipients=DOMAINS, **{"not": {"recipients": unwanted}}))
    wanted, unwanted_list = "for domain <rm-r1-recipients>", "regex <rm-r1-recipients-not-re>"
    line = f'match from local {wanted} ! rcpt-to {unwanted_list} action "rm-r1"'
    assert match_lines(generation) == [line]
    listed = generation.file("r1-recipients-not-re")
    assert listed is not None
    assert listed.content == b"# @list\n^abuse@d7\\.test$\n"
    assert not takes(generation, "", "j@d8.test")


def test_many_unwanted_recipients_share_one_line_in_two_lists() -> None:
    generation = rendered(matching(**{"not": {"recipients": [*DOMAINS, "j@a.test", "d.test"]}}))
    assert len(match_lines(generation)) == 1
    assert not takes(generation, "", "j@a.test")
    assert not takes(generation, "", "j@d199.test")
    assert takes(generation, "", "k@a.test")


def test_many_plain_keys_of_a_table_are_exact_lists_with_one_line_a_next_hop() -> None:
    entries = [(domain, f"smtp://r{n % 3}.test") for n, domain in enumerate(DOMAINS)]
    lines = match_lines(rendered(keyed("recipient-domain", entries, None)))
    assert len(lines) == 3
    assert all("for domain <rm-r1-domain-" in line for line in lines)


@pytest.mark.parametrize(
    "match",
    [
        {"auth_users": [f"user{n}" for n in range(MAX_REGEX_LINES + 1)]},
        {"senders": [f"*.{domain}" for domain in DOMAINS]},
        {"senders": ["x.test"], "not": {"senders": [f"u{n}@x.test" for n in range(150)]}},
        {"not": {"senders": [*DOMAINS, "j@a.test"]}},
        {"not": {"helos": [*DOMAINS, "*.a.test"]}},
    ],
    ids=["users", "wildcards", "differences", "unwanted senders", "unwanted helos"],
)
def test_more_regular_expressions_than_a_recipient_should_wait_for_are_refused(
    match: Document,
) -> None:
    with pytest.raises(NotExpressible) as refused:
        rendered(matching(**match))
    assert [reason.code for reason in refused.value.reasons] == ["condition-size"]


def test_a_rule_that_can_never_match_leaves_no_line_and_no_action() -> None:
    own = str(TARGET.addresses[0])  # on this host that address is local, and nothing is left
    generation = rendered(matching(clients=[own], **{"not": {"clients": ["local"]}}))
    assert [file.name for file in generation.files] == ["relaymap.conf"]
    assert match_lines(generation) == []
