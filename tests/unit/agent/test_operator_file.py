"""What the operator's smtpd.conf says that concerns us, read as smtpd reads it."""

from pathlib import Path

import pytest

from app.agent import operator_file
from app.agent.operator_file import Listener, NotIncluded

TRICKY = r"""
# action "commented" relay \
action "still commented" relay
host = "mx.test"
action "plain" relay host "smtp://h # no comment"
action bare relay
action 'single' relay
action "with \"quotes\"" relay
action \
  "continued" relay
pki $host cert "/etc/x"
pki "quoted $host" key "/etc/y"
ca corp cert "/etc/ca"
table t { "action" }
match from any for any action "not-declared-here"
queue ttl 2h
"""


@pytest.mark.io
def test_a_file_and_its_includes_say_what_they_declare(tmp_path: Path):
    conf, more, ours = (tmp_path / name for name in ("smtpd.conf", "more.conf", "ours.conf"))
    more.write_text('action "from-include" relay\nca other cert "/x"\n')
    ours.write_text('action "rm-r1" relay\n')
    conf.write_text(f'{TRICKY}\ninclude "{more}"\ninclude "{ours}"\ninclude "/not/there"\n')
    declared = operator_file.read(conf, leave_out=ours)
    assert "from-include" in declared.actions
    assert "rm-r1" not in declared.actions
    assert declared.certificates == {"mx.test", "quoted $host"}
    assert declared.cas.keys() == {"corp", "other"}
    assert declared.cas["other"] == "/x"
    assert declared.queue_ttl_s == 7200
    assert "rm-r1" in operator_file.read(conf).actions


@pytest.mark.io
def test_files_that_include_each_other_come_to_an_end(tmp_path: Path):
    conf = tmp_path / "smtpd.conf"
    conf.write_text(f'include "{conf}"\naction "once" relay\n')
    assert operator_file.read(conf).actions == {"once"}


@pytest.mark.io
@pytest.mark.parametrize(
    ("line", "listeners"),
    [
        ("listen on 192.0.2.1", [Listener("192.0.2.1", 25, greets=True)]),
        ("listen on 192.0.2.1 port 587 tls pki x", [Listener("192.0.2.1", 587, greets=True)]),
        ("listen on 192.0.2.1 smtps pki x", [Listener("192.0.2.1", 465, greets=False)]),
        pytest.param(
            "listen on 0.0.0.0 port smtp",
            [Listener("127.0.0.1", 25, greets=True)],
            marks=pytest.mark.skipif(
                not Path("/etc/services").exists(), reason="not installed: netbase"
            ),
        ),
        ("listen on lo inet4 port 26", [Listener("127.0.0.1", 26, greets=True)]),
        ("listen on 127.0.0.1 inet6 port 26", []),
        ("listen on mx.test inet6", [Listener("mx.test", 25, greets=True)]),
        ("listen on :: port 26", [Listener("::1", 26, greets=True)]),
        ("listen on mx.test proxy-v2", [Listener("mx.test", 25, greets=False)]),
        ("listen on 192.0.2.1 port no-such-service", []),
        ("listen on socket filter x", []),
    ],
)
def test_a_listener_says_where_smtpd_can_be_asked(
    tmp_path: Path, line: str, listeners: list[Listener]
):
    conf = tmp_path / "smtpd.conf"
    conf.write_text(line + "\n")
    assert operator_file.read(conf).listeners == listeners


@pytest.mark.io
def test_our_include_is_found_where_it_is_meant_and_not_in_a_comment(tmp_path: Path):
    conf, live, staged = tmp_path / "smtpd.conf", Path("/s/live/r.conf"), Path("/s/check/r.conf")
    conf.write_text(f'# include "{live}"\n')
    with pytest.raises(NotIncluded, match=r'include "/s/live/r[.]conf"'):
        operator_file.with_include(conf, live, staged)
    conf.write_text(f'action "a" relay\ninclude "{live}"\n')
    assert operator_file.with_include(conf, live, staged).endswith(f'include "{staged}"\n')
