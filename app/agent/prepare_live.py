"""A push to an MTA that asks the table program: what is written for it, and what smtpd lacks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.agent import program
from app.agent.live_file import Content, LiveFile
from app.agent.process import Identity
from app.render.generation import Generation, Secret, Target
from app.render.opensmtpd.expressible import live_reasons
from app.render.opensmtpd.live import Static, action_text, render_live, walk_of
from app.render.opensmtpd.tombstones import actions_of
from app.routing.decision import Fixed, assign, needed
from app.routing.errors import NotExpressible
from app.routing.live_file import Login
from app.routing.routing_table import RoutingTable
from app.wire import Wanted


@dataclass(frozen=True, slots=True)
class Lacking:
    """What is to be written, and whether the smtpd that runs can be asked it.

    Attributes:
        enough: whether every action that it may decide for is there.
        before: actions that the revision of before decides for.
    """

    content: Content
    enough: bool
    before: tuple[Fixed, ...]
    render: Callable[[Target], Static]


class LivePreparer:
    """Prepares what goes to one live file."""

    def __init__(self, file: LiveFile) -> None:
        self.file = file

    async def is_asked(self, running: Identity | None) -> bool:
        """Whether the smtpd that runs asks a program which reads what is written here."""
        if running is None:
            return False
        said = await program.ask(self.file.room, running)
        return said is not None and said.reads(self.file.meta())

    def prepare(
        self,
        wanted: Wanted,
        table: RoutingTable,
        secrets: Mapping[str, Secret],
        old: Generation,
        target: Target,
    ) -> Lacking:
        """What a push is for this MTA.

        Raises:
            NotExpressible: the MTA cannot do it.
        """
        reasons = live_reasons(table, target.version, target)
        if reasons:
            raise NotExpressible(reasons)
        structure, meta = self.file.structure(), self.file.meta()
        slots = assign(structure.slots, table)
        actions = needed(table, slots)
        have, walk = actions_of(old), set(walk_of(old))
        enough = bool(walk) and all(
            name in walk and name in have and have[name].text == action_text(action)
            for name, action in actions.items()
        )
        present = structure.routing(meta.revision, {name: {} for name in structure.tables})
        before = needed(present, structure.slots, self.file.hops())
        logins = {label: Login(s.username, s.password) for label, s in secrets.items()}
        content = Content(
            wanted.history,
            wanted.revision,
            wanted.model_digest,
            table,
            slots,
            logins,
            tuple(actions.values()),
            frozenset(walk | have.keys()),
            target.present or target.addresses,
        )

        def render(made_for: Target) -> Static:
            return render_live(table, slots, made_for, before.values())

        return Lacking(content, enough, tuple(before.values()), render)
