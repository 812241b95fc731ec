"""A routing as the files of one OpenSMTPD: pure, and the same routing gives the same bytes."""

from collections.abc import Iterable, Iterator, Mapping

from app.render.generation import File, Generation, Secret, Target
from app.render.opensmtpd import spelling
from app.render.opensmtpd.actions import CREDENTIALS, map_file
from app.render.opensmtpd.compiled import Compiled, compile_routing
from app.render.opensmtpd.criteria import table_name
from app.render.opensmtpd.rows import refusal
from app.render.opensmtpd.tombstones import (
    RenderedTombstone,
    tombstone_labels,
    tombstones_to_render,
    undeclared,
)
from app.routing.errors import NotExpressible, Reason
from app.routing.routing_table import RoutingTable

CONF = "relaymap.conf"
LIST_HEAD = "# @list\n"
"""Without it a file whose first line holds ':' would be read as pairs of key and value."""
MODE = 0o640

HEAD = """\
# Written by Relaymap from its routing. Do not edit: the next push replaces this file.
# smtpd.conf includes it after the operator's listeners and local delivery.
"""


def render(table: RoutingTable, secrets: Mapping[str, Secret], target: Target) -> Generation:
    """The files that make an OpenSMTPD do what a routing says.

    Args:
        table: the routing.
        secrets: by label, at least those that enabled rules use.
        target: the MTA.

    Raises:
        NotExpressible: this MTA cannot do it; with every reason.
        Unwritable: a text is none that our parsers let through.
    """
    compiled = compile_routing(table, target.version, target)
    labels = compiled.labels()
    tombstones = tombstones_to_render(target.tombstones, compiled.actions.keys(), table.credentials)
    missing = [_missing(label, target) for label in sorted(labels - secrets.keys())]
    reasons = (
        *compiled.reasons,
        *(reason for reason in missing if reason is not None),
        *undeclared(tombstones, target),
    )
    if reasons:
        raise NotExpressible(reasons)
    lists = dict(_lists(table, compiled, tombstones))
    wanted = labels | (tombstone_labels(tombstones) & secrets.keys())
    has_credentials = bool(wanted) or any(t.wants_credentials for t in tombstones)
    files = [File(CONF, MODE, _conf(compiled, tombstones, lists, target, has_credentials))]
    if has_credentials:
        content = _credentials(secrets[label] for label in sorted(wanted))
        files.append(File(CREDENTIALS, MODE, content, secret=True))
    files.extend(File(name, MODE, _list(lines)) for name, lines in lists.items())
    return Generation(tuple(sorted(files, key=lambda file: file.name)))


def _missing(label: str, target: Target) -> Reason | None:
    return refusal("credential", target.version, f"credentials/{label}", "it has no secret")


def _lists(
    table: RoutingTable, compiled: Compiled, tombstones: Iterable[RenderedTombstone]
) -> Iterator[tuple[str, Iterable[str]]]:
    for criterion in compiled.lists():
        yield criterion.file, criterion.lines
    for name in compiled.maps():
        # The daemon takes them in the order of their spelling, whatever the order here.
        active = table.active_relays(table.maps[name])
        yield map_file(name), sorted(spelling.relay_url(relay.url) for relay in active)
    for tombstone in tombstones:
        if tombstone.file:
            yield tombstone.file, tombstone.relays


def _list(lines: Iterable[str]) -> bytes:
    return (LIST_HEAD + "".join(f"{spelling.list_line(line)}\n" for line in lines)).encode()


def _credentials(secrets: Iterable[Secret]) -> bytes:
    lines = (spelling.credentials_line(s.label, s.username, s.password) for s in secrets)
    return "".join(f"{line}\n" for line in lines).encode()


def _conf(
    compiled: Compiled,
    tombstones: Iterable[RenderedTombstone],
    lists: Iterable[str],
    target: Target,
    has_credentials: bool,  # noqa: FBT001  private, one call
) -> bytes:
    live = f"{spelling.state_dir(target.state_dir)}/live"
    names = sorted([*lists, *([CREDENTIALS] if has_credentials else [])])
    tables = (f'table "{table_name(name)}" "file:{live}/{name}"' for name in names)
    actions = (str(action) for action in compiled.actions.values())
    retired = (str(tombstone) for tombstone in tombstones)
    matches = (str(match) for match in compiled.matches)
    blocks = ["\n".join(part) for part in (tables, actions, retired, matches)]
    text = HEAD + "".join(f"\n{block}\n" for block in blocks if block)
    return text.encode("ascii")
