"""What changes without a restart: the first look-up after `applied` is answered from the new revision."""

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import lmdb
import pytest

from app.routing.live_file import left_key, read_left
from tests.mta.agents import table_program
from tests.mta.agents.answers import answers
from tests.mta.agents.machine import PORT, STATE_DIR, A, B, C, Machine
from tests.mta.agents.wanting import keyed_table, relay_map, rule, wanted
from tests.mta.bed.injector import Submission
from tests.mta.bed.namespace import Namespace
from tests.mta.bed.sinks import Sink

D = Sink("d", "127.0.1.14", 26025)
LABEL = "acme"
ENTRIES = int(os.environ.get("RELAYMAP_LIVE_ENTRIES", "10"))
"""Of the table: a push of a whole model grows with them, what smtpd is answered does not."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    with Namespace.open() as namespace:
        table_program.install(namespace)
        yield Machine.open(namespace, A, B, C, D)


def routing(revision: int, change: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The routing that each change starts from, and is made to."""
    pool = relay_map("pool", A.url(), B.url()) | {"policy": "ratio"}
    spare = relay_map("spare", C.url())
    members: dict[str, Any] = {
        "maps": [pool, spare],
        "out": (),
        "rules": [
            rule(1, "table:keyed", "t.test"),
            rule(2, "map:pool", "x.test"),
            rule(3, "map:spare", "y.test"),
            rule(4, "table:by-sender", "s.test"),
        ],
        "tables": [
            keyed_table("keyed", "recipient-domain", entries(), D.url()),
            keyed_table("by-sender", "sender-domain", {"sender.test": "map:spare"}, "map:pool"),
        ],
        "credentials": (),
        "secrets": (),
    } | dict(change or {})
    return wanted(
        revision,
        members["rules"],
        members["maps"],
        out=members["out"],
        tables=members["tables"],
        credentials=members["credentials"],
        secrets=members["secrets"],
    )


def entries(**more: str) -> dict[str, str]:
    """The entries of a table, and more."""
    found = {f"t{n}.test": A.url() for n in range(ENTRIES - 1)} | {"t.test": A.url()}
    return found | {name.replace("_", "."): via for name, via in more.items()}


def maps(*relays: str, spare: str = "", **pool: Any) -> dict[str, Any]:
    """Other relays, or another policy, of the map."""
    urls = relays or (A.url(), B.url())
    first = relay_map("pool", *urls) | {"policy": "ratio"} | pool
    return {"maps": [first, relay_map("spare", spare or C.url())]}


def weighted(weight: int) -> dict[str, Any]:
    """Another weight of the second relay."""
    found = maps()
    found["maps"][0]["relays"][1]["weight"] = weight
    return found


def rules(*these: dict[str, Any]) -> dict[str, Any]:
    """Other rules."""
    others = [rule(1, "table:keyed", "t.test"), rule(4, "table:by-sender", "s.test")]
    return {"rules": [*others, *these]}


POOL, SPARE = rule(2, "map:pool", "x.test"), rule(3, "map:spare", "y.test")
KEYED = "by-sender", "sender-domain"


def keyed(**more: str) -> dict[str, Any]:
    """Other entries of the table by recipient domain."""
    return tables(entries(**more))


def tables(keys: Mapping[str, str], by_sender: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Other entries of the two tables."""
    senders = {"sender.test": "map:spare"} if by_sender is None else by_sender
    return {
        "tables": [
            keyed_table("keyed", "recipient-domain", keys, D.url()),
            keyed_table(*KEYED, senders, "map:pool"),
        ]
    }


CHANGES: dict[str, tuple[dict[str, Any], str, set[str]]] = {
    # what is changed, a domain that it is about, and where mail for it goes then
    "a relay is added": (maps(A.url(), B.url(), C.url()), "x.test", {"a", "b", "c"}),
    "a relay is removed": (maps(B.url()), "x.test", {"b"}),
    "a relay is taken out": ({"out": [("pool", "r0")]}, "x.test", {"b"}),
    "a weight is changed": (weighted(7), "x.test", {"a", "b"}),
    "a policy is changed": (maps(policy="failover"), "x.test", {"a"}),
    "a hash takes its place": (
        maps(policy="hash", hash_key="recipient-domain"),
        "x.test",
        {"a", "b"},
    ),
    "a URL is changed": (maps(spare=D.url()), "y.test", {"d"}),
    "an entry is added": (keyed(other_test=B.url()), "t.test", {"a"}),
    "an entry is changed": (keyed(t_test=B.url()), "t.test", {"b"}),
    "an entry is removed": (tables({"t0.test": A.url()}), "t.test", {"d"}),
    "an entry leads to a map": (keyed(t_test="map:spare"), "t.test", {"c"}),
    "an entry by sender is changed": (
        tables(entries(), {"sender.test": "map:pool"}),
        "s.test",
        {"a", "b"},
    ),
    "an entry by sender is removed": (tables(entries(), {}), "s.test", {"a", "b"}),
    "a rule is added": (rules(POOL, SPARE, rule(5, "map:spare", "z.test")), "z.test", {"c"}),
    "a rule is changed": (rules(rule(2, "map:spare", "x.test"), SPARE), "x.test", {"c"}),
    "rules are reordered": (
        rules(POOL, SPARE | {"match": POOL["match"], "priority": 1}),
        "x.test",
        {"c"},
    ),
    "a rule is disabled": (rules(POOL | {"enabled": False}, SPARE), "x.test", {"550"}),
    "a rule is disabled over another": (
        rules(POOL | {"enabled": False}, SPARE | {"match": POOL["match"]}),
        "x.test",
        {"c"},
    ),
}


@pytest.fixture(scope="module")
def machine(shared: Machine) -> Machine:
    machine = shared.fresh()
    machine.site(live=True)
    machine.do("first")
    assert machine.ended(routing(1)) == ("applied", "restart"), machine.detail
    return machine


_REVISIONS = iter(range(2, 1000))


def changed(machine: Machine, change: Mapping[str, Any] | None, **more: Any) -> int:
    """Push a change that must be live, with every process of smtpd the same; its revision."""
    pids, revision = machine.pids(), next(_REVISIONS)
    ended = machine.ended(routing(revision, change), **more)
    assert ended == ("applied", "live"), machine.detail
    assert machine.pids() == pids
    return revision


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_needs_no_restart_and_the_next_question_meets_it(machine: Machine, name: str):
    change, domain, goes_to = CHANGES[name]
    with answers(machine.namespace) as found:
        revision = changed(machine, change)
        went = {machine.goes_to(domain) for _ in range(8 if len(goes_to) > 1 else 2)}
    decided = found.all(lambda each: each.is_decision and each.key.endswith(domain))
    asked = found.relays()
    assert decided
    assert went == goes_to or (name == "a hash takes its place" and went < goes_to)
    assert {each.revision for each in [*decided, *asked]} == {revision}
    changed(machine, None)


def test_another_password_is_live(machine: Machine):
    """What smtpd would log in with, asked of the program itself: no listener here asks for it."""

    def with_password(revision: int, word: str) -> dict[str, Any]:
        spare = relay_map("spare", f"smtps://{LABEL}@127.0.1.13:26025")
        credential = {
            "label": LABEL,
            "revision": revision,
            "hosts": ["127.0.1.13"],
            "allow_unverified": True,
        }
        secret = {"label": LABEL, "revision": revision, "username": "u", "password": word}
        pool = relay_map("pool", A.url(), B.url()) | {"policy": "ratio"}
        return {"maps": [pool, spare], "credentials": [credential], "secrets": [secret]}

    assert machine.ended(routing(next(_REVISIONS), with_password(2, "one")))[0] == "applied"
    changed(machine, with_password(3, "two"))
    assert machine.ended(routing(next(_REVISIONS)))[0] == "applied"


def only_keyed(entries: Mapping[str, str]) -> dict[str, Any]:
    """A table without a default, and what leads to the spare map is its entries at most."""
    return {
        "rules": [rule(1, "table:keyed", "t.test"), POOL],
        "tables": [keyed_table("keyed", "recipient-domain", entries)],
    }


_QUEUE_S = 4 * 86_400
"""How long smtpd keeps mail unless it is told otherwise."""
_WITHOUT_SPARE = {"maps": maps()["maps"][:1]}
LEAVES = {
    # where an entry led, what the routing is then, and where mail goes that waited meanwhile
    "it is removed": (A.url(), only_keyed({}), "a"),
    "it becomes mx": (A.url(), only_keyed({"t.test": "mx"}), "a"),
    "it leads elsewhere": (A.url(), only_keyed({"t.test": B.url()}), "b"),
    "it goes, and its map": ("map:spare", only_keyed({}) | _WITHOUT_SPARE, "c"),
}


@pytest.mark.parametrize("name", LEAVES)
def test_mail_that_waits_for_an_entry_which_goes_arrives(machine: Machine, name: str):
    via, then, goes_to = LEAVES[name]
    changed(machine, only_keyed({"t.test": via}))
    machine.sinks.forget()
    machine.smtpd.hold()
    message = Submission("left", "s@sender.test", "u@t.test", PORT)
    assert {reply.stage for reply in machine.injector.send([message])} == {"accepted"}
    changed(machine, then)
    live = machine.namespace.outside(f"{STATE_DIR}/data/data.mdb")
    with (
        lmdb.open(str(live), subdir=False, readonly=True, lock=False) as file,
        file.begin() as rows,
    ):
        row = rows.get(left_key("keyed", "t.test"))
    if row is not None:
        assert read_left(row)[1] > time.time() + _QUEUE_S, "as long as mail may live"
    assert (row is None) == (name == "it leads elsewhere")
    machine.smtpd.release()
    machine.sinks.wait_for(1)
    assert machine.sinks.counts() == {goes_to: 1}
    if not then["tables"][0]["entries"]:
        assert machine.goes_to("t.test") == "550", "what comes now meets the rules as they are"
    changed(machine, None)


NOT_LIVE = {
    "a URL that no rule named": rules(POOL, SPARE, rule(5, D.url(), "z.test")),
    "a message of refusal": rules(
        POOL, SPARE, rule(5, "", "z.test") | {"action": {"kind": "reject", "message": "go away"}}
    ),
    "another class of options": rules(
        POOL, SPARE, rule(5, "map:spare", "z.test", helo="other.test")
    ),
    "a map that did not exist": maps() | {"rules": [POOL, rule(3, "map:new", "y.test")]},
}
NOT_LIVE["a map that did not exist"]["maps"].append(relay_map("new", D.url()))
NOT_LIVE["a map that did not exist"] |= {"tables": []}


@pytest.mark.parametrize("name", NOT_LIVE)
def test_what_smtpd_has_no_action_for_needs_a_restart(machine: Machine, name: str):
    """Its actions are fixed when it starts."""
    pids = machine.pids()
    ended = machine.ended(routing(next(_REVISIONS), NOT_LIVE[name]))
    assert ended == ("applied", "restart"), machine.detail
    assert set(machine.pids()) & set(pids) == set()
