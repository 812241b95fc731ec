"""Passwords and the actions that would take them to where they may not go."""

import pytest

from app.render.opensmtpd.tombstones import RenderedAction, may_not_log_in
from app.routing.credential import Credential

AUTH = "auth <rm-credentials>"


@pytest.mark.parametrize(
    ("text", "hosts", "barred"),
    [
        (f'relay host "smtps://acct@a.test:465" {AUTH} tls', ("a.test",), False),
        (f'relay host "smtps://acct@a.test:465" {AUTH} tls', ("b.test",), True),
        (f'relay host "smtps://acct@a.test:465" {AUTH} tls no-verify', ("a.test",), True),
        (f'relay host "smtps://other@a.test:465" {AUTH} tls', ("b.test",), False),
        (f"relay host <rm-t-rm-url.0123456789ab> {AUTH} tls", ("b.test",), False),
        (f"relay domain <rm-map-pool> {AUTH}", ("b.test",), False),
        ("relay", ("b.test",), False),
        ("by hand", ("b.test",), False),
    ],
)
def test_an_action_with_a_host_is_barred_from_a_password_that_may_not_go_there(
    text: str, hosts: tuple[str, ...], *, barred: bool
) -> None:
    found = may_not_log_in(
        {"rm-url.0123456789ab": RenderedAction(text)}, {"acct": Credential("acct", 2, hosts)}
    )
    assert bool(found) is barred
