"""The fixed files of an OpenSMTPD that asks the table program: actions, and the lines of the walk.

Everything else is in the live file. As long as a routing needs no action that smtpd does not have,
these files stay as they are, and nothing is reloaded.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.render.generation import File, Generation, Target
from app.render.opensmtpd import spelling
from app.render.opensmtpd.actions import identity, message_of
from app.render.opensmtpd.expressible import live_reasons
from app.render.opensmtpd.limits import MAX_ACTIONS
from app.render.opensmtpd.render import CONF, HEAD, LIST_HEAD, MODE
from app.render.opensmtpd.rows import Version, refusal
from app.render.opensmtpd.spelling import Unwritable
from app.render.opensmtpd.tombstones import RenderedTombstone, tombstones_to_render, undeclared
from app.routing.decision import Fixed, Options, Slots, needed, reserve, with_spares
from app.routing.errors import NotExpressible, Reason
from app.routing.next_hop import ViaMap, ViaTable
from app.routing.relay_url import RelayURL
from app.routing.routing_table import RoutingTable
from app.routing.rule import Reject

WALK = "walk"
PROGRAM = "relaymap"
LIMITS = (
    # Messages that may wait for one relay. At 50, smtpd's own limit, it throws the pick of a relay
    # away and asks again later, which bends every ratio.
    "mta limit task-hiwat 1000000",
    # It remembers a route that once led to a relay for as long as this says, 5 s by itself, and
    # tries it anew just then. While it remembers, a refused connection counts for nothing: what
    # waits for a relay that died at work would wait until that is back, and go nowhere else.
    "mta limit conn-delay-route 0",
)
"""What smtpd must do otherwise than by itself (mta.c)."""


@dataclass(frozen=True, slots=True)
class Static:
    """Files, and the actions that they give to smtpd, in the order in which it asks."""

    files: Generation
    actions: Mapping[str, Fixed]


def render_live(
    table: RoutingTable,
    slots: Slots,
    target: Target,
    before: Iterable[Fixed] = (),
) -> Static:
    """The fixed files for a routing.

    Args:
        table: the routing.
        slots: of its maps that hash at acceptance.
        target: the MTA.
        before: actions that the routing needs which is in force until this one is.

    Raises:
        NotExpressible: this MTA cannot do it; with every reason.
        Unwritable: a text is none that our parsers let through.
    """
    reasons = live_reasons(table, target.version, target)
    if reasons:
        raise NotExpressible(reasons)
    wanted = needed(table, slots)
    ready = with_spares(slots)
    actions = wanted | needed(table, ready) | reserve(table, ready)
    actions |= {each.name: each for each in before}
    stones = tombstones_to_render(target.tombstones, actions.keys(), table.credentials)
    reasons = (*too_many_actions(wanted, target.version), *undeclared(stones, target))
    if reasons:
        raise NotExpressible(reasons)
    files = [
        File(CONF, MODE, _conf(actions, stones, target)),
        File(WALK, MODE, "".join(f"{name}\n" for name in actions).encode("ascii")),
        *(File(stone.file, MODE, _list(stone)) for stone in stones if stone.file),
    ]
    return Static(Generation(tuple(sorted(files, key=lambda file: file.name))), actions)


def too_many_actions(wanted: Collection[str], version: Version) -> tuple[Reason, ...]:
    """Why so many actions are too many; empty where they are not."""
    if len(wanted) <= MAX_ACTIONS:
        return ()
    reason = refusal("actions", version, "rules", f"this routing needs {len(wanted)}", live=True)
    return () if reason is None else (reason,)


def walk_of(generation: Generation) -> tuple[str, ...]:
    """The actions that smtpd asks about, in order; none where it asks no program."""
    file = generation.file(WALK)
    return () if file is None else tuple(file.content.decode("ascii", "replace").splitlines())


def action_text(action: Fixed) -> str:
    """What stands after an action's name in relaymap.conf."""
    to, options = action.to, action.options
    if isinstance(to, Reject):
        message = spelling.reject_message(message_of(to))
        return f'expand-only virtual {{ "@" = "error:550 5.7.1 {message}" }}'
    words = ["relay", *_host(action)]
    words.extend(_tls(options))
    words.extend(identity(options))
    if options.ttl_s is not None:
        words.append(f"ttl {int(options.ttl_s)}s")  # last: smtpd.conf(5) takes nothing after it
    return " ".join(words)


def _host(action: Fixed) -> Iterator[str]:
    to = action.to
    if isinstance(to, RelayURL):
        yield f"host {spelling.quoted(spelling.relay_url(to), 'relay URL')}"
        if to.credential is not None:
            yield "auth <rm-credentials>"
    elif isinstance(to, ViaMap | ViaTable):
        # By domain, for every policy: a policy can then change to one that asks for it.
        yield f"domain <{spelling.word(action.name)}>"
        yield "auth <rm-credentials>"


def _tls(options: Options) -> Iterator[str]:
    if options.mandatory:
        yield "tls" if options.tls_verify else "tls no-verify"
        if options.ca is not None:
            yield f"ca {spelling.pki_name(options.ca)}"


def _conf(
    actions: Mapping[str, Fixed], stones: tuple[RenderedTombstone, ...], target: Target
) -> bytes:
    live = f"{spelling.state_dir(target.state_dir)}/live"
    asked = ["rm-walk", "rm-credentials"]
    asked += [name for name, each in actions.items() if isinstance(each.to, ViaMap | ViaTable)]
    asked += [stone.name for stone in stones if stone.asks]
    tables = [f'table "{spelling.word(name)}" "{PROGRAM}:{live}/{WALK}"' for name in asked]
    tables += [
        f'table "{stone.table}" "file:{live}/{stone.file}"' for stone in stones if stone.file
    ]
    lines = [f"action {spelling.action_name(n)} {action_text(each)}" for n, each in actions.items()]
    if len({line.split('"')[1] for line in lines}) < len(lines):
        raise Unwritable("name of an action")
    blocks = (
        list(LIMITS), tables, lines, [str(s) for s in stones], _walk(actions)
    )  # fmt: skip
    text = HEAD + "".join(
        "\n" + "".join(f"{line}\n" for line in block) for block in blocks if block
    )
    return text.encode("ascii")


def _walk(actions: Iterable[str]) -> list[str]:
    """See `app.table_program.answers`: two lines hand an envelope over, each other line asks."""
    lines = ["match from src <rm-walk> for any auth regex <rm-walk> reject"]
    first = (
        "match tag <rm-walk> from any for any helo <rm-walk> mail-from <rm-walk>"
        " rcpt-to <rm-walk> action {}"
    )
    others = "match tag <rm-walk> from any for any action {}"
    for number, name in enumerate(actions):
        lines.append((others if number else first).format(spelling.action_name(name)))
    return lines


def _list(stone: RenderedTombstone) -> bytes:
    return (LIST_HEAD + "".join(f"{relay}\n" for relay in stone.relays)).encode("ascii")
