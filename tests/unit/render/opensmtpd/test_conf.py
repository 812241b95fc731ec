"""Actions and includes are found in any smtpd.conf(5), as the daemon's scanner reads it."""

import pytest

from app.render.opensmtpd.conf import dispatchers, includes
from app.render.opensmtpd.tombstones import actions_of
from tests.golden.cases import cases

OPERATORS = r"""
# action "commented" relay
pki mail cert "/etc/mail.crt"   # action "after a hash" relay
listen on all tag action
where = "maildir"
name = "from-macro"
action "local" maildir junk alias <aliases>
action local_mail mbox
action 'single' lmtp "/run/lmtp"
action "with \"quote\"" relay
action $name relay
action \
  "continued" relay
action	tabbed	mda "action \"inner\" relay"
action "list" relay host { "smtp://a.test",
  action, "smtp://b.test" }
match from any for any action "used"
match for local action "local"
include "/etc/smtpd/a b.conf"
include '/var/lib/relaymap-agent/live/relaymap.conf'
"""


def test_actions_are_those_that_are_defined_not_those_that_are_used_or_mentioned() -> None:
    assert dispatchers(OPERATORS) == {
        "local",
        "local_mail",
        "single",
        'with "quote"',
        "from-macro",
        "continued",
        "tabbed",
        "list",
    }


def test_includes_are_found_in_order() -> None:
    expected = ("/etc/smtpd/a b.conf", "/var/lib/relaymap-agent/live/relaymap.conf")
    assert includes(OPERATORS) == expected


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", set()),
        ("action", set()),
        ('action "a" relay', {"a"}),
        ('action "a" relay\n# \\\naction "b" relay\n', {"a"}),
        ('action "a\nb" relay', {"ab"}),
        ('action "unended', {"unended"}),
        ('action "a" relay }\naction "b" relay', {"a", "b"}),
    ],
)
def test_odd_texts_are_read_as_the_daemon_reads_them(text: str, names: set[str]) -> None:
    assert dispatchers(text) == names


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_what_we_write_is_read_alike_by_both_readers(case: object) -> None:
    generation = case.render()  # type: ignore[attr-defined]
    conf = generation.file("relaymap.conf")
    assert dispatchers(conf.content.decode()) == set(actions_of(generation))
