"""Documents are read strictly, every fault at once, and come back as they were written."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given

from app.routing import document
from app.routing.errors import Invalid
from app.routing.relay_map import RelayMap
from app.routing.routing_table import RoutingTable
from tests.unit.routing import strategies

RELAY_MAP = {
    "name": "pool",
    "description": "",
    "policy": "ratio",
    "hash_key": None,
    "relays": [{"name": "a", "url": "smtp://a", "weight": 3, "priority": 0, "comment": "first"}],
}
RULE = {
    "id": "r1",
    "name": "out",
    "description": "",
    "priority": 10,
    "enabled": True,
    "open_relay": False,
    "match": {"senders": ["a.test"], "not": {"recipients": ["b.test"]}},
    "action": {
        "kind": "relay",
        "via": "map:pool",
        "mail_from": "@b.test",
        "helo": "out.test",
        "sources": ["192.0.2.1"],
        "certificate": "mine",
        "ca": "theirs",
        "tls_verify": True,
        "ttl_s": 3600,
    },
}
REJECT = {"name": "no", "action": {"kind": "reject", "message": "No"}}
TABLE = {"name": "t", "description": "", "key": "sender", "default": "mx"}
ENTRY = {"key": "a.test", "via": "smtp://a"}
STATE = {"state": "out", "reason": "disk"}
CREDENTIAL = {"label": "acct", "revision": 1, "hosts": ["a.test"], "allow_unverified": False}
RELAY = {"name": "a", "url": "smtp://a"}

Read = Callable[[object], object]
READERS: list[tuple[str, Read, dict[str, Any]]] = [
    ("relay map", document.read_relay_map, RELAY_MAP),
    ("relay", document.read_relay, RELAY),
    ("rule", document.read_rule, RULE),
    ("reject rule", document.read_rule, REJECT),
    ("table", document.read_table, TABLE),
    ("entry", document.read_entry_hop, ENTRY),
    ("state", document.read_state, STATE),
    ("credential", document.read_credential, CREDENTIAL),
]
each_kind = pytest.mark.parametrize(
    ("read", "sample"), [reader[1:] for reader in READERS], ids=[reader[0] for reader in READERS]
)


def objects(value: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every JSON object in a document, with its pointer."""
    if isinstance(value, dict):
        yield pointer, value
        for name, member in value.items():
            yield from objects(member, f"{pointer}/{name}")
    if isinstance(value, list):
        for position, member in enumerate(value):
            yield from objects(member, f"{pointer}/{position}")


def copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


def faults(read: Read, value: object) -> dict[str, str]:
    """Pointer and code of every fault of a document."""
    with pytest.raises(Invalid) as invalid:
        read(value)
    return {fault.pointer: fault.code for fault in invalid.value.faults}


@each_kind
def test_a_sample_is_taken(read: Read, sample: dict[str, Any]) -> None:
    read(sample)


@each_kind
def test_an_unknown_member_is_refused_at_any_depth(read: Read, sample: dict[str, Any]) -> None:
    for pointer, _ in list(objects(sample)):
        changed = copy(sample)
        dict(objects(changed))[pointer]["surprise"] = 1
        assert faults(read, changed) == {pointer: "unknown-member"}


@each_kind
def test_an_unknown_member_is_not_repeated(read: Read, sample: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as invalid:
        read({**sample, "hunter2": 1})
    assert "hunter2" not in str(invalid.value)


@each_kind
@pytest.mark.parametrize("value", [None, [], "text", 1, True], ids=repr)
def test_what_is_no_object_is_refused(read: Read, sample: dict[str, Any], value: object) -> None:
    assert faults(read, value)[""] == "bad-type"


def of_type(kind: type) -> list[tuple[Read, dict[str, Any], str, str]]:
    return [
        (read, sample, pointer, name)
        for _, read, sample in READERS
        for pointer, found in objects(sample)
        for name, member in found.items()
        if type(member) is kind
    ]


def refused_with(place: tuple[Read, dict[str, Any], str, str], value: object) -> dict[str, str]:
    read, sample, pointer, name = place
    changed = copy(sample)
    dict(objects(changed))[pointer][name] = value
    found = faults(read, changed)
    return {where: code for where, code in found.items() if where.startswith(f"{pointer}/{name}")}


@pytest.mark.parametrize("place", of_type(int), ids=lambda p: f"{p[2]}/{p[3]}")
@pytest.mark.parametrize("value", [True, 1.0, "1", [1], {}, -1, 2**70, float("nan")], ids=repr)
def test_only_a_whole_number_in_range_is_one(
    place: tuple[Read, dict[str, Any], str, str], value: object
) -> None:
    assert refused_with(place, value) == {f"{place[2]}/{place[3]}": "out-of-range"}


@pytest.mark.parametrize("place", of_type(bool), ids=lambda p: f"{p[2]}/{p[3]}")
@pytest.mark.parametrize("value", [0, 1, "true", [], {}], ids=repr)
def test_only_true_and_false_are_flags(
    place: tuple[Read, dict[str, Any], str, str], value: object
) -> None:
    assert refused_with(place, value) == {f"{place[2]}/{place[3]}": "bad-type"}


@pytest.mark.parametrize("place", of_type(str), ids=lambda p: f"{p[2]}/{p[3]}")
@pytest.mark.parametrize("value", [0, True, 1.5, ["a"], {}], ids=repr)
def test_only_a_text_is_a_text(place: tuple[Read, dict[str, Any], str, str], value: object) -> None:
    assert set(refused_with(place, value).values()) <= {"bad-type", "bad-choice"}


@pytest.mark.parametrize("place", of_type(list), ids=lambda p: f"{p[2]}/{p[3]}")
@pytest.mark.parametrize("value", ["a.test", {}, 1, [1], [None], [["a"]]], ids=repr)
def test_only_a_list_is_a_list(place: tuple[Read, dict[str, Any], str, str], value: object) -> None:
    assert refused_with(place, value)


@pytest.mark.parametrize(
    "name", ["clients", "auth_users", "senders", "recipients", "helos", "tags"]
)
@pytest.mark.parametrize("side", ["match", "not"])
def test_a_condition_is_a_list_of_1_to_1000_patterns(name: str, side: str) -> None:
    pattern = "192.0.2.1" if name == "clients" else "a"

    def rule(patterns: list[str]) -> dict[str, Any]:
        conditions = {name: patterns}
        return {**REJECT, "match": conditions if side == "match" else {"not": conditions}}

    where = f"/match/{name}" if side == "match" else f"/match/not/{name}"
    assert faults(document.read_rule, rule([])) == {where: "bad-list"}
    assert faults(document.read_rule, rule([pattern] * 1001)) == {where: "bad-list"}
    document.read_rule(rule([pattern] * 1000))


def test_a_pattern_given_twice_is_kept_once_in_canonical_spelling() -> None:
    match = {"senders": ["A.test", "a.TEST", "<>"], "clients": ["192.0.2.1/24", "192.0.2.0/24"]}
    rule = document.read_rule({**REJECT, "match": match})
    assert document.rule_document(rule)["match"] == {
        "clients": ["192.0.2.0/24"],
        "senders": ["a.test", "<>"],
    }


def test_every_fault_of_a_document_is_told_at_once() -> None:
    found = faults(
        document.read_rule,
        {
            "name": "No",
            "priority": -1,
            "match": {"senders": ["ok.test", "-"], "not": {"tags": []}},
            "action": {"kind": "relay", "helo": "*", "surprise": 1},
            "extra": None,
        },
    )
    assert found == {
        "": "unknown-member",
        "/name": "bad-name",
        "/priority": "out-of-range",
        "/match/senders/1": "bad-pattern",
        "/match/not/tags": "bad-list",
        "/action": "unknown-member",
        "/action/via": "missing",
        "/action/helo": "bad-domain",
    }


@pytest.mark.parametrize(
    ("read", "given", "pointer"),
    [
        (document.read_relay_map, {"name": "m", "relays": [{}]}, "/relays/0/url"),
        (document.read_relay_map, {"relays": [RELAY]}, "/name"),
        (document.read_relay, {"url": "smtp://a"}, "/name"),
        (document.read_rule, {"name": "r"}, "/action"),
        (document.read_rule, {"action": {"kind": "reject"}}, "/name"),
        (document.read_rule, {"name": "r", "action": {}}, "/action/kind"),
        (document.read_rule, {"name": "r", "action": {"kind": "relay"}}, "/action/via"),
        (document.read_table, {"name": "t"}, "/key"),
        (document.read_entry_hop, {"key": "a.test"}, "/via"),
        (document.read_state, {}, "/state"),
        (document.read_credential, {"label": "acct"}, "/hosts"),
    ],
)
def test_what_must_be_there_is_asked_for(read: Read, given: object, pointer: str) -> None:
    assert faults(read, given) == {pointer: "missing"}


@pytest.mark.parametrize(
    ("read", "given", "pointer"),
    [
        (document.read_relay_map, {**RELAY_MAP, "policy": "Ratio"}, "/policy"),
        (document.read_relay_map, {**RELAY_MAP, "hash_key": "subject"}, "/hash_key"),
        (document.read_rule, {**REJECT, "action": {"kind": "drop"}}, "/action/kind"),
        (document.read_table, {**TABLE, "key": "helo"}, "/key"),
        (document.read_state, {"state": "down"}, "/state"),
    ],
)
def test_only_the_words_of_a_choice_are_taken(read: Read, given: object, pointer: str) -> None:
    assert faults(read, given) == {pointer: "bad-choice"}


@given(strategies.routings())
def test_a_document_is_read_back_as_it_was_written(table: RoutingTable) -> None:
    pairs: list[tuple[Any, Callable[[Any], document.Document], Read]] = [
        *((m, document.relay_map_document, document.read_relay_map) for m in table.maps.values()),
        *((r, document.rule_document, document.read_rule) for r in table.rules.values()),
        *((t, document.table_document, document.read_table) for t in table.tables.values()),
        *((s, document.state_document, document.read_state) for s in table.states.values()),
        *(
            (c, document.credential_document, document.read_credential)
            for c in table.credentials.values()
        ),
    ]
    for value, write, read in pairs:
        written = copy(write(value))
        assert read(written) == value
        assert write(read(written)) == written


SPELT = ["smtps://h.test:465", "ssl://h.test", "smtps://h.test", "smtp+notls://h.test"]


def test_rules_that_do_the_same_share_an_action_and_keep_their_own_spelling() -> None:
    """Two relay URLs are equal that mean the same: what was written is answered all the same."""
    for written in (*SPELT, *reversed(SPELT)):
        body = {"name": "one", "action": {"kind": "relay", "via": written}}
        one, other = (document.read_rule({**body, "name": name}) for name in ("one", "other"))
        assert one.action is other.action
        assert f'"via": "{written}"' in json.dumps(document.rule_document(one))


@given(strategies.relay_maps)
def test_the_canonical_form_is_one_line_sorted_and_without_blanks(value: RelayMap) -> None:
    written = document.relay_map_document(value)
    shuffled = dict(reversed(written.items()))
    form = document.canonical_json(written)
    assert document.canonical_json(shuffled) == form
    assert json.loads(form) == written
    assert form.count(b"\n") == 0
    assert document.digest(shuffled) == document.digest(written)


def test_the_canonical_form_is_as_rfc_8785_writes_it() -> None:
    value = {"b": [1, True, None], "a": 'ä"\n', "A": {}}
    assert document.canonical_json(value).decode() == '{"A":{},"a":"ä\\"\\n","b":[1,true,null]}'
