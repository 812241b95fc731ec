"""Files that do not mean what the model means are found, whatever was done to them."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from app.render.generation import File, Generation, Tombstone
from app.render.opensmtpd.read_back import ReadBackDiffers, check_read_back
from tests.golden.cases import Case, cases

CASES = {case.name: case for case in cases()}
CONDITIONS, TABLES = CASES["every-condition"], CASES["tables"]
HOPS, LOGINS = CASES["next-hops"], CASES["tls-and-logins-6.8"]
RETIRED, REFUSALS = CASES["tombstones"], CASES["rejections"]


def edited(generation: Generation, name: str, edit: Callable[[str], str]) -> Generation:
    files = [
        replace(file, content=edit(file.content.decode()).encode()) if file.name == name else file
        for file in generation.files
    ]
    return Generation(tuple(files))


def with_text(generation: Generation, name: str, text: str) -> Generation:
    return edited(generation, name, lambda _: text)


def is_found(case: Case, generation: Generation) -> bool:
    try:
        check_read_back(case.table, case.secrets, generation, case.target)
    except ReadBackDiffers:
        return True
    return False


LISTS = [
    (case, file.name)
    for case in CASES.values()
    for file in case.render().files
    # The list of a default says again what the line of an entry before it has taken already.
    if file.name not in {"relaymap.conf", "r2-recipients-re"}
]


@pytest.mark.parametrize(("case", "name"), LISTS, ids=lambda part: getattr(part, "name", part))
def test_a_line_lost_from_any_list_is_found(case: Case, name: str) -> None:
    generation = case.render()
    file = generation.file(name)
    assert file is not None
    lines = file.content.decode().splitlines(keepends=True)
    for number in range(len(lines)):
        kept = "".join(lines[:number] + lines[number + 1 :])
        assert is_found(case, with_text(generation, name, kept)), lines[number]


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_a_line_lost_from_the_configuration_is_found(case: Case) -> None:
    generation = case.render()
    conf = generation.file("relaymap.conf")
    assert conf is not None
    lines = conf.content.decode().splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.startswith("#") or not line.strip():
            continue
        kept = "".join(lines[:number] + lines[number + 1 :])
        assert is_found(case, with_text(generation, conf.name, kept)), line


EDITS = [
    (CONDITIONS, "relaymap.conf", "from any for domain <rm-r2", "from local for domain <rm-r2"),
    (CONDITIONS, "relaymap.conf", "! from local", "from local"),
    (CONDITIONS, "relaymap.conf", "! mail-from regex", "mail-from regex"),
    (CONDITIONS, "relaymap.conf", "! helo", "helo"),
    (CONDITIONS, "relaymap.conf", "! tag", "tag"),
    (CONDITIONS, "relaymap.conf", "! auth regex", "auth regex"),
    (CONDITIONS, "relaymap.conf", "auth regex", "auth"),
    (CONDITIONS, "relaymap.conf", "helo regex <rm-r20", "helo <rm-r20"),
    (CONDITIONS, "relaymap.conf", "<rm-r10-senders>", "<rm-r22-senders-not>"),
    (CONDITIONS, "relaymap.conf", ' action "rm-r1"\n', " reject\n"),
    (CONDITIONS, "relaymap.conf", 'from local for any action "rm-r1"', 'for any action "rm-r1"'),
    (CONDITIONS, "relaymap.conf", 'from local for any action "rm-r1"', 'from local action "rm-r1"'),
    (CONDITIONS, "relaymap.conf", ' action "rm-r1"\n', ' tag <rm-r21-tags> action "rm-r1"\n'),
    (CONDITIONS, "relaymap.conf", "/var/lib/relaymap-agent/live/r10", "/tmp/live/r10"),
    (CONDITIONS, "relaymap.conf", 'action "rm-r1" relay', 'action "rm-r99" relay'),
    (CONDITIONS, "relaymap.conf", "relay.example:25", "evil.example:25"),
    (CONDITIONS, "relaymap.conf", "\nmatch", "\nmatch from any for any reject\nmatch"),
    (CONDITIONS, "relaymap.conf", "\naction", '\ninclude "/tmp/x"\naction'),
    (CONDITIONS, "r3-clients", "192.0.2.0/24", "192.0.2.0/23"),
    (CONDITIONS, "r3-clients", "192.0.2.0/24", "192.0.2.1/24"),
    (CONDITIONS, "r3-clients", "192.0.2.0/24", "local\n192.0.2.0/24"),
    (CONDITIONS, "r10-senders", "@example.net", "example.net"),
    (CONDITIONS, "r10-senders", "@example.net", "@*.example.net"),
    (CONDITIONS, "r11-senders-re", r"^@$", "@"),
    (CONDITIONS, "r11-senders-re", r"^joe@example\.org$", r"joe@example\.org$"),
    (CONDITIONS, "r11-senders-re", r"^joe@example\.org$", r"^joe@example.org$"),
    (CONDITIONS, "r11-senders-re", r"^joe@example\.org$", r"^joe@example\.org"),
    (CONDITIONS, "r11-senders-re", r"@.+\.example\.net$", r"@.*\.example\.net$"),
    (CONDITIONS, "r12-senders-re", r"[^k]@example", r"[^K]@example"),
    (CONDITIONS, "r12-senders-re", r"[^k]@example", r"[^kk]@example"),
    (CONDITIONS, "r12-senders-re", r"[^k]@example", r"[k]@example"),
    (CONDITIONS, "r16-recipients-re", r"[^.]b", r"[^a]b"),
    (CONDITIONS, "r8-auth_users-re", r"[^b]$", r"."),
    (CONDITIONS, "r21-tags", "submission", "submission\nlan"),
    (TABLES, "relaymap.conf", "<rm-r1-below3", "<rm-r1-below2"),
    (TABLES, "r1-domain-c45b80141b3e", "vip.example", "vip.example\nnew.example"),
    (HOPS, "relaymap.conf", "ttl 60s", "ttl 61s"),
    (HOPS, "relaymap.conf", 'helo "out.example"', 'helo "other.example"'),
    (HOPS, "relaymap.conf", '"203.0.113.5", "203.0.113.6"', '"203.0.113.6", "203.0.113.5"'),
    (HOPS, "relaymap.conf", '"rm-r1" relay host <rm-m-pool>', '"rm-r1" relay host <rm-m-one>'),
    (HOPS, "relaymap.conf", '"rm-r5" relay ttl', '"rm-r5" relay host <rm-m-pool> ttl'),
    (HOPS, "relaymap.conf", '"rm-r6" relay', '"rm-r6" relay backup'),
    (HOPS, "m-pool", "smtp://a.example:25", "smtp://a.example:26"),
    (HOPS, "m-pool", "smtp://a.example:25", "smtp+notls://a.example:25"),
    (HOPS, "m-pool", "smtp://a.example:25", "smtp://a.example"),
    (HOPS, "m-pool", "smtp://a.example:25", "smtp://a.example:25\nsmtp://c.example:25"),
    (HOPS, "m-asleep", "# @list\n", "# @list\nsmtp://a.example:2525\n"),
    (HOPS, "m-asleep", "# @list\n", ""),
    (LOGINS, "relaymap.conf", "tls no-verify", "tls"),
    (LOGINS, "relaymap.conf", " tls\n", " tls no-verify\n"),
    (LOGINS, "relaymap.conf", ' ca "private"', ""),
    (LOGINS, "relaymap.conf", "<rm-m-mixed> auth <rm-credentials>", "<rm-m-mixed>"),
    (LOGINS, "credentials", "lab\tuser of lab", "lab\tother"),
    (LOGINS, "credentials", "r5.example\t", "unused\tu:p\nr5.example\t"),
    (LOGINS, "credentials", "r5.example\tr5:x\n", ""),
    (REFUSALS, "relaymap.conf", "550 5.7.1 Refused", "450 5.7.1 Refused"),
    (REFUSALS, "relaymap.conf", "Refused by", "Refused, by"),
    (RETIRED, "t-rm-r2", "smtps://a.example:465\n", ""),
    (RETIRED, "relaymap.conf", 'relay host "smtp://gone', 'relay host "smtp://other'),
    (RETIRED, "relaymap.conf", '\naction "rm-r1"', '\naction "rm-r77" relay\naction "rm-r1"'),
]  # fmt: skip


@pytest.mark.parametrize(("case", "name", "old", "new"), EDITS)
def test_a_change_of_meaning_is_found(case: Case, name: str, old: str, new: str) -> None:
    generation = case.render()
    broken = edited(generation, name, lambda text: text.replace(old, new, 1))
    assert broken != generation, "the edit has nothing to edit"
    assert is_found(case, broken)


def test_two_rules_that_change_places_are_found() -> None:
    def swap(text: str) -> str:
        *before, last, end = text.split("\n")
        return "\n".join([*before[:-1], last, before[-1], end])

    assert is_found(CONDITIONS, edited(CONDITIONS.render(), "relaymap.conf", swap))


def test_lines_of_a_table_that_change_places_are_found_where_they_overlap() -> None:
    lines = [
        'rcpt-to regex <rm-r1-below3-d7f890c4f72a-re> action "rm-r1-d7f890c4f72a"',
        'rcpt-to regex <rm-r1-below2-bf9a5bd5c7f2-re> action "rm-r1-bf9a5bd5c7f2"',
    ]

    def swap(text: str) -> str:
        text = text.replace(lines[0], "first").replace(lines[1], lines[0])
        return text.replace("first", lines[1])

    assert is_found(TABLES, edited(TABLES.render(), "relaymap.conf", swap))


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_another_mode_is_found(mode: int) -> None:
    generation = LOGINS.render()
    files = tuple(replace(file, mode=mode) for file in generation.files)
    assert is_found(LOGINS, Generation(files))


def test_a_file_that_nothing_reads_is_found() -> None:
    stray = File("m-stray", 0o640, b"# @list\n")
    assert is_found(HOPS, Generation((*HOPS.render().files, stray)))


def test_a_credentials_file_that_is_not_kept_secret_is_found() -> None:
    files = tuple(replace(file, secret=False) for file in LOGINS.render().files)
    assert is_found(LOGINS, Generation(files))


def test_mixed_tls_without_the_option_is_refused_where_it_would_stick() -> None:
    newer = replace(LOGINS, target=replace(LOGINS.target, version=(7, 3)))
    assert not is_found(LOGINS, LOGINS.render())
    assert is_found(newer, LOGINS.render())


def test_other_addresses_of_the_host_are_another_meaning_of_local() -> None:
    moved = replace(CONDITIONS, target=replace(CONDITIONS.target, addresses=()))
    assert is_found(moved, CONDITIONS.render())


def test_a_retired_action_that_is_not_there_is_found() -> None:
    stone = Tombstone("rm-r9", "relay", (), 0)
    more = replace(RETIRED.target, tombstones=(*RETIRED.target.tombstones, stone))
    assert is_found(replace(RETIRED, target=more), RETIRED.render())


def test_a_difference_names_its_place_and_no_secret() -> None:
    broken = edited(LOGINS.render(), "credentials", lambda text: text.replace("word", "canary"))
    with pytest.raises(ReadBackDiffers) as found:
        check_read_back(LOGINS.table, LOGINS.secrets, broken, LOGINS.target)
    assert found.value.where == "credentials"
    assert "canary" not in repr(found.value.__cause__) + str(found.value)
