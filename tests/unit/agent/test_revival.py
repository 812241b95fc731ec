"""What an old generation gets of one that was given up, for the mail that it took."""

from dataclasses import replace

from app.agent.queue import Scan
from app.agent.revival import orphans, revived
from app.render.opensmtpd.render import render
from app.render.opensmtpd.tombstones import actions_of
from app.routing.document import Document
from app.routing.routing_table import EMPTY
from tests.unit.render.opensmtpd.samples import CREDENTIAL, SECRETS, TARGET, relay, routing

POOL: dict[str, list[Document]] = {
    "pool": [{"url": "smtps://lab@a.test"}, {"url": "smtps://lab@b.test"}]
}
QUEUED = Scan(frozenset({"rm-r1"}), 1, 0)


def test_a_revived_action_has_its_relays_and_their_passwords_again() -> None:
    credential = {**CREDENTIAL, "hosts": ["*.test"]}
    table = routing(relay("map:pool"), relay_maps=POOL, credentials=[credential])
    old, new = render(EMPTY, {}, TARGET), render(table, SECRETS, TARGET)
    stones = orphans(old, new, QUEUED, 5)
    again = revived(old, new, stones, f"{TARGET.state_dir}/live")
    assert actions_of(again)["rm-r1"].relays == actions_of(new)["rm-r1"].relays != ()
    given = again.file("credentials")
    assert given is not None
    assert given == new.file("credentials")
    assert given.secret


def test_without_logins_no_password_comes_along() -> None:
    plain: dict[str, list[Document]] = {"pool": [{"url": "smtps://a.test"}]}
    secret = relay("smtps://lab@a.test")
    credential = {**CREDENTIAL, "hosts": ["*.test"]}
    table = routing(relay("map:pool"), secret, relay_maps=plain, credentials=[credential])
    old, new = render(EMPTY, {}, TARGET), render(table, SECRETS, TARGET)
    again = revived(old, new, orphans(old, new, QUEUED, 5), f"{TARGET.state_dir}/live")
    assert again.file("credentials") is None
    assert actions_of(again)["rm-r1"].relays == ("smtps://a.test:465",)


def test_mail_that_names_no_lost_action_needs_nothing() -> None:
    old, new = render(EMPTY, {}, TARGET), render(routing(relay()), {}, TARGET)
    assert orphans(old, new, replace(QUEUED, actions=frozenset({"out"})), 5) == ()
