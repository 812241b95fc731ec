"""What the parsers refuse, the renderer refuses as well: values made past every parser."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.render.generation import Secret, Target
from app.render.opensmtpd.render import render
from app.render.opensmtpd.spelling import Unwritable
from app.routing.conditions import AnyCondition, AuthUsers, Helos, Recipients, Senders, Tags
from app.routing.credential import Credential
from app.routing.errors import ControlError
from app.routing.next_hop import MX, ViaMap, ViaTable
from app.routing.patterns import AddressPattern, DomainPattern, MailPattern
from app.routing.relay_map import Policy, Relay, RelayMap
from app.routing.relay_url import RelayURL
from app.routing.routing_table import RoutingTable
from app.routing.rule import MailFrom, Match, Reject, RelayAction, Rule
from app.routing.table import Table, TableKey
from tests.unit.render.opensmtpd.samples import TARGET
from tests.vectors.rows import rows

CORPUS = Path(__file__).resolve().parents[5] / "shared" / "corpus" / "bad_inputs.json"
SECURE = RelayURL("tls", "lab", "r.test", None)


@dataclass(frozen=True)
class Forged:
    """What a stolen server, or a mistake of ours, could give to the renderer."""

    table: RoutingTable
    secrets: dict[str, Secret]


def _forged(
    action: Reject | RelayAction | None = None,
    *,
    wanted: AnyCondition | None = None,
    secret: Secret | None = None,
    **parts: object,
) -> Forged:
    match = Match(() if wanted is None else (wanted,))
    rule = Rule("r1", "rule", action or RelayAction(MX), match)
    table = RoutingTable(rules={"rule": rule}, **parts)  # type: ignore[arg-type]
    return Forged(table, {} if secret is None else {secret.label: secret})


def _url(text: str) -> Forged:
    return _forged(RelayAction(RelayURL("smtp", None, text, 25)))


def _map(text: str) -> Forged:
    relay_map = RelayMap(
        text, Policy.ROUND_ROBIN, (Relay("r", RelayURL("", None, "r.test", None)),)
    )
    return _forged(RelayAction(ViaMap(text)), maps={text: relay_map})


def _mail_pattern(text: str) -> MailPattern:
    local, at, domain = text.rpartition("@")
    if at:
        return AddressPattern(local, domain)
    return DomainPattern(text.removeprefix("*."), below=text.startswith("*."))


def _key(kind: TableKey) -> Callable[[str], Forged]:
    return lambda text: _forged(
        RelayAction(ViaTable("t")), tables={"t": Table("t", kind)}, entries={"t": {text: MX}}
    )


def _mail_from(text: str) -> Forged:
    user, at, domain = text.rpartition("@")
    mail_from = MailFrom(user or None, domain) if at else MailFrom(text, "")
    return _forged(RelayAction(MX, mail_from=mail_from))


def _label(text: str) -> Forged:
    url = replace(SECURE, label=text)
    credentials = {text: Credential(text, 1, ("r.test",))}
    return _forged(RelayAction(url), secret=Secret(text, 1, "u", "p"), credentials=credentials)


def _secret(username: str, password: str) -> Forged:
    credentials = {"lab": Credential("lab", 1, ("r.test",))}
    secret = Secret("lab", 1, username, password)
    return _forged(RelayAction(SECURE), secret=secret, credentials=credentials)


FORGE: dict[str, Callable[[str], Forged]] = {
    "relay_map.name": _map,
    "rule.action.via": _url,
    "entry.via": _url,
    "table.default": _url,
    "relay.url": _url,
    "rule.action.mail_from": _mail_from,
    "rule.action.helo": lambda text: _forged(RelayAction(MX, helo=text)),
    "rule.action.message": lambda text: _forged(Reject(text)),
    "rule.action.certificate": lambda text: _forged(RelayAction(SECURE, certificate=text)),
    "rule.action.ca": lambda text: _forged(RelayAction(SECURE, ca=text)),
    "rule.match.senders": lambda text: _forged(wanted=Senders((_mail_pattern(text),))),
    "rule.match.recipients": lambda text: _forged(wanted=Recipients((_mail_pattern(text),))),  # type: ignore[arg-type]
    "rule.match.helos": lambda text: _forged(
        wanted=Helos((DomainPattern(text.removeprefix("*."), below=text.startswith("*.")),))
    ),
    "rule.match.auth_users": lambda text: _forged(wanted=AuthUsers((text,))),
    "rule.match.tags": lambda text: _forged(wanted=Tags((text,))),
    "credential.label": _label,
    "credential.username": lambda text: _secret(text, "password"),
    "credential.password": lambda text: _secret("user", text),
    **{f"entry.key {kind.value}": _key(kind) for kind in TableKey},
}
"""How each field's text is put past its parser. Fields that never reach a file are not here."""


def _texts() -> list[tuple[str, str]]:
    found = [(row["field"], json.loads(row["value"])) for row in rows("bad_inputs")]
    if CORPUS.exists():
        found += [
            (row["field"], row["value"])
            for row in json.loads(CORPUS.read_text(encoding="utf-8"))
            if isinstance(row.get("value"), str)
        ]
    whole = [(f, v if isinstance(v, str) else v[0] * v[1]) for f, v in found if f in FORGE]
    hosts = [
        (field, text.removeprefix("smtp://"))
        for field, text in whole
        if FORGE[field] is _url and text.startswith("smtp://")
    ]
    return list(dict.fromkeys(whole + hosts))


TEXTS = _texts()


def render_forged(field: str, text: str, target: Target) -> None:
    forged = FORGE[field](text)  # a value may refuse by itself: a label without TLS
    render(forged.table, forged.secrets, target)


@pytest.mark.parametrize(("field", "text"), TEXTS, ids=lambda part: ascii(part)[:40])
def test_a_text_that_no_parser_takes_is_never_written(field: str, text: str) -> None:
    target = replace(TARGET, certificates=(text,), cas=(text,))
    with pytest.raises(ControlError) as refused:
        render_forged(field, text, target)
    if len(text) > 3:
        assert text not in str(refused.value)


def test_every_field_whose_text_reaches_a_file_has_ten_rows() -> None:
    for field in FORGE:
        count = sum(1 for name, _ in TEXTS if name == field)
        assert count >= 10 or (field == "relay.url" and not CORPUS.exists()), field


@pytest.mark.parametrize("text", ["r0", "r01", "R1", "r1 ", 'r1"', "", "1", "r" + "1" * 19, "r1\n"])
def test_an_id_that_no_counter_gives_names_no_action(text: str) -> None:
    with pytest.raises(Unwritable):
        render(RoutingTable(rules={"a": Rule(text, "a", Reject())}), {}, TARGET)


def test_two_rules_of_one_id_are_not_rendered() -> None:
    rules = {name: Rule("r1", name, Reject()) for name in "ab"}
    with pytest.raises(Unwritable):
        render(RoutingTable(rules=rules), {}, TARGET)


@pytest.mark.parametrize(
    "text", ["", "relative", "/", "/with blank", '/a"b', "/a/../b", "/a/", "//a", "/a\n", "/$HOME"]
)
def test_a_state_directory_is_a_plain_absolute_path(text: str) -> None:
    with pytest.raises(Unwritable):
        render(RoutingTable(), {}, replace(TARGET, state_dir=text))


def test_a_refusal_of_a_secret_shows_neither_username_nor_password() -> None:
    forged = _secret("canary-user", "canary\npassword")
    with pytest.raises(Unwritable) as refused:
        render(forged.table, forged.secrets, TARGET)
    assert "canary" not in f"{refused.value!r} {refused.value.__cause__!r}"
