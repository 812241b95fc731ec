"""A push to an MTA that asks the table program: what is written for it, and what smtpd lacks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.agent import program
from app.agent.live_file import Content, LiveFile
from app.agent.process import Identity
from app.render.generation import Generation, Secret, Target
from app.render.opensmtpd.expressible import live_reasons
from app.render.opensmtpd.live import Static, action_text, render_live, walk_of
from app.render.opensmtpd.tombstones import actions_of, may_not_log_in
from app.routing.decision import Fixed, assign, needed
from app.routing.delta import done, read_delta
from app.routing.errors import ControlError, NotExpressible
from app.routing.live_file import Login
from app.routing.routing_table import RoutingTable
from app.wire import Have, SecretMessage, Wanted


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


class OtherBase(ControlError):
    """Changes came for a model that is not in force here; the whole one is asked for next."""

    code = "other-base"
    temporary = True

    def __init__(self) -> None:
        super().__init__("the changes are for another model than the one in force here")


class LivePreparer:
    """Prepares what goes to one live file."""

    def __init__(self, file: LiveFile) -> None:
        self.file = file

    async def is_asked(self, running: Identity | None) -> bool:
        """Whether the smtpd that runs asks a program which reads what is written here."""
        return not await self.unasked(running)

    async def unasked(self, running: Identity | None) -> str:
        """Why the smtpd that runs is not answered from what is written here; "" where it is."""
        if running is None:
            return "smtpd does not run"
        said = await program.ask(self.file.room, running)
        if said is None:
            return "no table program of the smtpd that runs says anything"
        if said.trouble:  # its words are in smtpd's log
            return "the table program cannot read the live file"
        reads = said.reads(self.file.meta())
        return "" if reads else "the table program answers from another revision"

    def have(self) -> Have | None:
        """The model that a server may send the changes of; None before the first."""
        meta = self.file.meta()
        return Have(meta.history, meta.revision, meta.model_digest) if meta.history else None

    def changed(self, wanted: Wanted) -> RoutingTable:
        """The routing that changes make of the one in force.

        Raises:
            OtherBase: they are for another one.
            Invalid, Unknown: they are none, or none for it.
        """
        if wanted.base != self.file.meta().model_digest:
            raise OtherBase
        present = self.file.routing()
        return done(present, read_delta(wanted.changes, present.tables), wanted.revision)

    def secrets(self, wanted: Wanted) -> list[SecretMessage]:
        """Every password that came, or was here already."""
        structure = self.file.structure()
        came = {each.label for each in wanted.secrets}
        here = (
            SecretMessage(
                label=label,
                revision=structure.credentials[label].revision,
                username=login.username,
                password=login.password,
            )
            for label, login in structure.logins.items()
            if label not in came
        )
        return [*wanted.secrets, *here]

    def prepare(
        self,
        wanted: Wanted,
        table: RoutingTable,
        secrets: Mapping[str, Secret],
        old: Generation,
        target: Target,
        lives: tuple[int, int],
    ) -> Lacking:
        """What a push is for this MTA.

        Args:
            wanted: the push.
            table: its routing.
            secrets: the passwords that it may use, by label.
            old: the files that are served.
            target: the MTA.
            lives: now, and until when mail may live that is queued now, in seconds since the epoch.

        Raises:
            NotExpressible: the MTA cannot do it.
        """
        reasons = live_reasons(table, target.version, target)
        if reasons:
            raise NotExpressible(reasons)
        structure = self.file.structure()
        slots = assign(structure.slots, table)
        actions = needed(table, slots)
        have, walk = actions_of(old), set(walk_of(old))
        # A fixed action hands a password to the host that it names, whoever that label is for now.
        given = {label: table.credentials[label] for label in secrets}
        barred = may_not_log_in(have, given) - actions.keys()
        enough = bool(walk and not barred) and all(
            name in walk and name in have and have[name].text == action_text(action)
            for name, action in actions.items()
        )
        before = needed(self.file.routing(), structure.slots)
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
            *lives,
        )

        def render(made_for: Target) -> Static:
            # What is barred goes at once: new mail for it is asked to come again until all is done.
            ready = (each for name, each in before.items() if name not in barred)
            return render_live(table, slots, made_for, ready)

        return Lacking(content, enough, tuple(before.values()), render)
