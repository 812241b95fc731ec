"""After every edit, through the editor and a real database, answers are those of a plain resolver.

RELAYMAP_SOAK_CASES says how many cases are made up; `make soak` makes thousands.
"""

import asyncio
import os
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings

from app.routing.change import Kind, Subject
from app.routing.credential import Credential
from app.routing.errors import ControlError
from app.routing.pairs import Pairs, walk_pairs
from app.routing.resolve import brief, brief_of, resolve
from app.routing.route import Brief, Draw, MxHosts, MxNeeded, Resolution, Route
from app.routing.routing_table import RoutingTable, StateKey
from app.routing.writes import Put
from app.server.edit import Editor
from app.server.storage import NewSecret
from tests.conftest import Tell
from tests.contract import edits
from tests.contract.conftest import Database
from tests.contract.edits import Restore, Step, Tally
from tests.oracle import Chance, Letter, Routing
from tests.unit.routing import plain, strategies

CASES = int(os.environ.get("RELAYMAP_SOAK_CASES", "500"))
_LABELS = ("acct", "x.y_z", "9-", *(host for host in strategies.HOSTS if "[" not in host))
_MX = MxHosts(("mx.test",))
_UP: frozenset[StateKey] = frozenset()


@pytest.mark.slow
@pytest.mark.timeout(60 + CASES)
def test_answers_are_those_of_a_plain_resolver(database: Database, tell: Tell) -> None:
    tally = Tally()
    with asyncio.Runner() as runner:
        opened = database.editor()
        editor = runner.run(opened.__aenter__())
        runner.run(_credentials(editor))

        @settings(
            max_examples=CASES,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(edits.beginnings, edits.steps, edits.letters, strategies.draws)
        def cases(
            beginning: Step,
            steps: Sequence[Step | Restore],
            letters: Sequence[Letter],
            draw: Draw,
        ) -> None:
            runner.run(_case(editor, beginning, steps, letters, draw, tally))

        try:
            cases()
            runner.run(_reloaded(database, editor))
        finally:
            runner.run(opened.__aexit__(None, None, None))
    tell(f"{tally.taken} edits; refused: {tally.refused}; answers: {tally.outcomes}")
    assert {"relay", "reject", "unrouted"} <= tally.outcomes.keys()
    assert tally.taken > 2 * sum(tally.refused.values())


async def _credentials(editor: Editor) -> None:
    """Every label that a relay URL of a case may log in with."""
    puts = [
        Put(Subject(Kind.CREDENTIAL, la), Credential(la, 1, strategies.HOSTS)) for la in _LABELS
    ]
    secrets = {label: NewSecret("user", "password") for label in _LABELS}
    await editor.edit(lambda _: puts, author=edits.AUTHOR, secrets=secrets)


async def _case(
    editor: Editor,
    beginning: Step,
    steps: Sequence[Step | Restore],
    letters: Sequence[Letter],
    draw: Draw,
    tally: Tally,
) -> None:
    await edits.clear(editor)
    await beginning.write(editor)
    routing = Routing()
    beginning.make(routing)
    past = [(editor.live.current().revision, routing)]
    for step in steps:
        after = routing.copy()
        try:
            if isinstance(step, Restore):
                revision, then = past[-min(step.back, len(past))]
                after = routing.restored(then)
                await editor.restore(revision, author=edits.AUTHOR)
            else:
                await step.write(editor)
                step.make(after)
        except (ControlError, KeyError) as refused:
            # A KeyError is a step about what is not there.
            name = type(refused).__name__
            tally.refused[name] = tally.refused.get(name, 0) + 1
        else:
            routing = after
            tally.taken += 1
            past.append((editor.live.current().revision, routing))
        _ask_both(editor.live.current().table, routing, letters, draw, tally)
        _ask_together(editor.live.current().table, routing, letters, draw)


def _ask_both(
    table: RoutingTable, routing: Routing, letters: Sequence[Letter], draw: Draw, tally: Tally
) -> None:
    relays = sorted((m.name, relay.name) for m in table.maps.values() for relay in m.relays)
    for number, letter in enumerate(letters):
        down = frozenset(relays[number % 3 :: 3] if number % 2 else ())
        expected = routing.resolve(letter, Chance(draw.turn, draw.uniform, down))
        tally.outcomes[expected["outcome"]] = tally.outcomes.get(expected["outcome"], 0) + 1
        envelope = edits.envelope(letter)
        told = resolve(table, envelope, down, lambda _: draw, _MX, explain=True)
        plain.agree(told, expected)
        found = resolve(table, envelope, down, lambda _: draw, _MX)
        plain.agree(found, expected)
        _agree_in_short(brief(table, envelope, down, lambda _: draw), found)


def _ask_together(
    table: RoutingTable, routing: Routing, letters: Sequence[Letter], draw: Draw
) -> None:
    """The same of all senders and recipients at once, without a client and what it says."""
    ordinary = [each for each in letters if "[" not in each.sender + each.recipient]
    if not ordinary:
        return
    pairs = Pairs.of([each.sender for each in ordinary], [each.recipient for each in ordinary])
    assert pairs is not None
    led = walk_pairs(table, pairs)
    for number in led.alone:
        led.walk_alone(number)
    for number, letter in enumerate(ordinary):
        envelope = pairs.envelope(number)
        found = resolve(table, envelope, _UP, lambda _: draw, _MX)
        alone = Letter(letter.sender, letter.recipient)
        plain.agree(found, routing.resolve(alone, Chance(draw.turn, draw.uniform)))
        said = brief_of(table, led.walked(number), envelope, _UP, lambda _: draw)
        _agree_in_short(said, found)


def _agree_in_short(said: Brief, found: Resolution | MxNeeded) -> None:
    kind, rule, url = said
    if kind is not MxNeeded:
        chosen = found.chosen.url if isinstance(found, Route) else None
        assert (kind, rule, url) == (type(found), getattr(found, "rule", None), chosen)


async def _reloaded(database: Database, editor: Editor) -> None:
    async with database.editor() as again:
        assert again.live.current().table == editor.live.current().table
