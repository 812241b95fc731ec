"""What the daemon's log tells of relays, in lines as smtpd 6.8 writes them."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.agent.daemon_log import (
    MAX_SESSIONS,
    Bounced,
    DaemonLog,
    Delivered,
    Failed,
    Told,
    Waits,
    place_of,
)
from app.wire import Cause

EVPID = "548830ab5987ee88"
HEAD = f"mta delivery evpid={EVPID} from=<s@sender.test> to=<u0@b.test> rcpt=<->"
CONNECTING = "3be907ffc6b31809 mta connecting address={} host=127.0.1.12"


def told(*lines: str) -> list[Told]:
    log = DaemonLog()
    return [found for line in lines if (found := log.read(line)) is not None]


@pytest.mark.parametrize(
    ("reason", "cause", "reply"),
    [
        ("IO Error: Connection refused", Cause.REFUSED, None),
        ("IO Error: No route to host", Cause.UNREACHABLE, None),
        ("Connection failed: Network is unreachable", Cause.UNREACHABLE, None),
        ("Connection timeout", Cause.TIMEOUT, None),
        ("Connection closed unexpectedly", None, None),
        ("BANNER rejected: 554 go away", Cause.NO_BANNER, 554),
        ("EHLO rejected: 550 no", Cause.NOT_SMTP, 550),
        ("TLS required but not supported by remote host", Cause.STARTTLS_MISSING, None),
        ("SSL certificate check failed", Cause.CERTIFICATE, None),
        ("AUTH rejected: 535 5.7.8 no", Cause.AUTH_REFUSED, 535),
        ("something new AUTH rejected: 535 no", None, None),
    ],
)
def test_an_error_is_joined_with_where_its_session_went(
    reason: str, cause: Cause | None, reply: int | None
):
    assert told(
        CONNECTING.format("smtp+notls://127.0.1.12:26025"),
        f"3be907ffc6b31809 mta error reason={reason}",
    ) == [Failed("127.0.1.12", 26025, cause, reply)]


@pytest.mark.parametrize(
    ("address", "place", "port"),
    [
        ("smtp://192.0.2.1:25", "192.0.2.1", 25),
        ("smtps://[2001:db8::1]:465", "2001:db8::1", 465),
        ("lmtp://[IPv6:2001:db8::1]:24", "2001:db8::1", 24),
    ],
)
def test_every_form_of_address_is_read(address: str, place: str, port: int):
    lines = (CONNECTING.format(address), "3be907ffc6b31809 mta error reason=Connection timeout")
    assert told(*lines) == [Failed(place, port, Cause.TIMEOUT)]


def test_an_error_of_a_session_that_nobody_saw_begin_tells_nothing():
    assert told("3be907ffc6b31809 mta error reason=Connection timeout") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            (
                f'0000000000000000 {HEAD} source="-" relay="127.0.1.12" delay=1s result="TempFail"'
                ' stat="Network error on destination MXs"'
            ),
            Waits(EVPID, "127.0.1.12", unconnected=True),
        ),
        (
            (
                f'0000000000000000 {HEAD} source="-" relay="nohost.test" delay=0s result="TempFail"'
                ' stat="Host not found"'
            ),
            Waits(EVPID, "nohost.test", unconnected=True),
        ),
        (
            (
                f'3be9080e7de5bb01 {HEAD} source="127.0.0.1" relay="127.0.1.12 (b.test)" delay=1s'
                ' result="TempFail" stat="451 4.3.0 later"'
            ),
            Waits(EVPID, "127.0.1.12", unconnected=False),
        ),
        (
            (
                f'3be9080e7de5bb01 {HEAD} source="127.0.0.1" relay="127.0.1.12 (b.test)" delay=1d2h3m'
                ' result="Ok" stat="250 2.0.0 taken"'
            ),
            Delivered(EVPID, "127.0.1.12"),
        ),
        (
            (
                f'3be9080e7de5bb01 {HEAD} source="127.0.0.1" relay="127.0.1.12 (b.test)" delay=1s'
                ' result="PermFail" stat="550 no"'
            ),
            Bounced(EVPID),
        ),
        (
            "smtp-out: Failed to resolve MX for [relay:nohost.test,port=25,smtp,mx]: Host not found",
            Failed("nohost.test", 25, Cause.NO_ADDRESS),
        ),
        (
            "smtp-out: Disabling route [] <-> 127.0.1.12 (b.test) for 15s",
            Failed("127.0.1.12"),
        ),
        ("smtp-out: Enabling route [] <-> 127.0.1.12 (127.0.1.12)", None),
        ("3be907fc982107dc smtp disconnected reason=quit", None),
        ("3be90800decbb365 mta connected", None),
        ("", None),
    ],
)
def test_each_line_tells_what_it_says(line: str, expected: Told | None):
    assert DaemonLog().read(line) == expected


def test_a_delivery_is_joined_with_the_port_of_its_session():
    delivery = (
        f'3be907ffc6b31809 {HEAD} source="-" relay="127.0.1.12 (x)" delay=1s result="Ok" stat="'
    )
    lines = (CONNECTING.format("smtps://127.0.1.12:465"), delivery)
    assert told(*lines) == [Delivered(EVPID, "127.0.1.12", 465)]
    ended = "3be907ffc6b31809 mta disconnected reason=quit messages=1"
    assert told(lines[0], ended, delivery) == [Delivered(EVPID, "127.0.1.12", None)]


def test_memory_is_bounded():
    log = DaemonLog()
    for session in range(MAX_SESSIONS + 10):
        log.read(f"{session:016x} mta connecting address=smtp://192.0.2.1:25 host=x")
    assert len(log._sessions) == MAX_SESSIONS
    assert log.read(f"{0:016x} mta error reason=Connection timeout") is None
    assert log.read(f"{MAX_SESSIONS:016x} mta error reason=Connection timeout") is not None


FORGED = '> source="-" relay="192.0.2.66" delay=1s result="Ok" stat="'
WORDS = st.lists(
    st.sampled_from(
        [
            FORGED,
            FORGED + "> rcpt=<-",
            '" result="Ok" stat="250',
            '> source="',
            '" relay="192.0.2.66" delay=1s result="TempFail" stat="Network error',
            " mta error reason=AUTH rejected: 535",
            f"0000000000000000 {HEAD}",
            "smtp-out: Disabling route [] <-> 192.0.2.66 (x) for 15s",
            "\r",
            " ",
            '"',
            "<",
            ">",
        ]
    )
    | st.text(string.printable, max_size=8),
    max_size=6,
).map("".join)


@given(sender=WORDS, recipient=WORDS, rcpt=WORDS, name=WORDS, stat=WORDS)
@example(FORGED, "x", "y", "z", "250 fine")
@example("x", "y", FORGED, "z", "250 fine")
@example("x", "y", '> source="-" relay="192.0.2.66" delay=1s result="TempFail" stat="', "z", "4")
@example("x", "y", "-", "z", FORGED)
def test_nobody_can_make_a_line_tell_what_smtpd_did_not_say(
    sender: str, recipient: str, rcpt: str, name: str, stat: str
):
    """What a sender, a recipient, a reverse DNS or a peer says: the line is read right or not."""
    line = (
        f"3be9080e7de5bb01 mta delivery evpid={EVPID} from=<{sender}> to=<{recipient}>"
        f' rcpt=<{rcpt}> source="127.0.0.1" relay="192.0.2.1 ({name})" delay=1s'
        f' result="TempFail" stat="{stat}"'
    )
    found = DaemonLog().read(line)
    assert getattr(found, "envelope", EVPID) == EVPID
    assert getattr(found, "place", "192.0.2.1") == "192.0.2.1"


@given(sender=WORDS, recipient=WORDS, rcpt=WORDS, stat=WORDS)
def test_nobody_but_who_names_the_relay_can_make_it_tell_another_end(
    sender: str, recipient: str, rcpt: str, stat: str
):
    line = (
        f"3be9080e7de5bb01 mta delivery evpid={EVPID} from=<{sender}> to=<{recipient}>"
        f' rcpt=<{rcpt}> source="127.0.0.1" relay="192.0.2.1 (x.test)" delay=1s'
        f' result="TempFail" stat="451 {stat}"'
    )
    assert DaemonLog().read(line) in {None, Waits(EVPID, "192.0.2.1", unconnected=False)}


@given(reason=WORDS)
def test_a_peer_cannot_name_another_place(reason: str):
    log = DaemonLog()
    log.read("3be9080e7de5bb01 mta connecting address=smtp://192.0.2.1:25 host=x")
    found = log.read(f"3be9080e7de5bb01 mta error reason={reason}")
    assert isinstance(found, Failed)
    assert (found.place, found.port) == ("192.0.2.1", 25)


@given(st.text(max_size=300) | WORDS)
def test_any_line_can_be_read(line: str):
    DaemonLog().read(line)


@pytest.mark.parametrize(
    ("text", "place"),
    [("[::1]", "::1"), ("IPv6:::1", "::1"), ("[192.0.2.1]", "192.0.2.1"), ("A.Test", "a.test")],
)
def test_places_are_compared_in_one_form(text: str, place: str):
    assert place_of(text) == place
