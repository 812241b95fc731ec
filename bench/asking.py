"""An smtpd that asks the table program, from a live file and fixed files that no agent wrote.

Needs root and OpenSMTPD: each smtpd runs in a namespace of its own.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from app.agent.live_file import Content, LiveFile
from app.agent.main import group_of_mta
from app.render.generation import Target
from app.render.opensmtpd.live import render_live
from app.routing.decision import needed
from app.routing.document import read_rule
from app.routing.envelope import LOOPBACK
from app.routing.next_hop import EntryHop, parse_entry_hop
from app.routing.routing_table import RoutingTable
from app.routing.rule import Rule
from app.routing.table import Table, TableKey
from tests.mta.agents import table_program
from tests.mta.agents.machine import PORT, STATE_DIR, operator
from tests.mta.bed.dns import Dns
from tests.mta.bed.namespace import Namespace
from tests.mta.bed.smtpd import Settings, Smtpd

TABLE = Table("domains", TableKey.RECIPIENT_DOMAIN)
ACTION = f"rm-table-{TABLE.name}"
"""What asks for the entries of that table."""
_HOPS = tuple(parse_entry_hop(f"smtp://mx{n}.example.net:2525") for n in range(50))
_IN_A_MESSAGE = 20


def domain(number: int) -> str:
    """The domain of an entry."""
    return f"customer{number}.example"


def entries(count: int) -> dict[str, EntryHop]:
    """So many entries, in the order in which a server sends them."""
    return {name: _HOPS[len(name) % len(_HOPS)] for name in sorted(map(domain, range(count)))}


def keyed(of_domain: Mapping[str, EntryHop]) -> RoutingTable:
    """A routing that asks a table for the relay of each recipient's domain."""
    rules = rules_of([({}, f"table:{TABLE.name}")])
    return RoutingTable(1, tables={TABLE.name: TABLE}, entries={TABLE.name: of_domain}, rules=rules)


def rules_of(lines: Iterable[tuple[Mapping[str, object], str]]) -> dict[str, Rule]:
    """Rules in order, each of a condition and of where its mail goes."""
    found = {}
    for number, (match, via) in enumerate(lines):
        said = {
            "name": f"rule-{number:05}",
            "priority": number,
            "match": {"clients": ["any"], **match},
            "open_relay": "recipients" not in match,
            "action": {"kind": "relay", "via": via},
        }
        rule = read_rule(said)
        found[rule.name] = rule
    return found


def content_of(table: RoutingTable) -> Content:
    """A routing as it is written."""
    actions = tuple(needed(table, {}).values())
    return Content("bench", table.revision, "", table, {}, {}, actions, frozenset(), (), 0, 0)


def write(table: RoutingTable, state_dir: Path) -> None:
    """Write the live file and the fixed files of a routing, as an agent does."""
    file = LiveFile(state_dir, group_of_mta())
    file.open()
    file.write(content_of(table))
    file.close()
    target = Target(version=(6, 8), state_dir=STATE_DIR, addresses=tuple(LOOPBACK))
    live = state_dir / "live"
    live.mkdir(mode=0o755)
    for each in render_live(table, {}, target).files.files:
        (live / each.name).write_bytes(each.content)
        (live / each.name).chmod(0o644)


class Mta:
    """An smtpd in a namespace, and a client of it."""

    def __init__(
        self,
        stack: ExitStack,
        table: RoutingTable | None = None,
        settings: Settings | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.namespace = stack.enter_context(Namespace.open())
        Dns.open(self.namespace, {})
        self.smtpd = Smtpd(self.namespace)
        if table is not None:
            table_program.install(self.namespace)
            state_dir = self.namespace.outside(STATE_DIR)
            state_dir.mkdir(mode=0o711)
            write(table, state_dir)
        for path, text in (files or {}).items():
            self.smtpd.write(path, text)
        self.smtpd.configure(settings or operator())

    def start(self, recipient: str = f"u@{domain(0)}") -> float:
        """Start smtpd; the seconds until it has taken a recipient."""
        started = time.perf_counter()
        self.smtpd.start()
        self.ask([recipient])
        return time.perf_counter() - started

    def restart(self) -> float:
        """As `start`, after it was ended."""
        self.smtpd.stop()
        return self.start()

    def ask(self, recipients: Sequence[str]) -> list[float]:
        """Name so many recipients in one session after the other; milliseconds of each."""
        spent: list[float] = []
        for first in range(0, len(recipients), 50 * _IN_A_MESSAGE):
            spent.extend(self._session(recipients[first : first + 50 * _IN_A_MESSAGE]))
        return spent

    def _session(self, recipients: Sequence[str]) -> list[float]:
        spent = []
        with self.namespace.connect("127.0.0.1", PORT) as link, link.makefile("rb") as replies:

            def say(line: str) -> bytes:
                link.sendall(line.encode() + b"\r\n")
                while (reply := replies.readline())[3:4] == b"-":
                    pass
                return reply

            replies.readline()
            say("EHLO client.test")
            for first in range(0, len(recipients), _IN_A_MESSAGE):
                say("MAIL FROM:<joe@sender.test>")
                for recipient in recipients[first : first + _IN_A_MESSAGE]:
                    started = time.perf_counter()
                    reply = say(f"RCPT TO:<{recipient}>")
                    spent.append((time.perf_counter() - started) * 1e3)
                    if not reply.startswith(b"250"):
                        raise RuntimeError(f"RCPT: {reply[:3].decode()}")
                say("RSET")
            say("QUIT")
        return spent

    def programs(self) -> list[int]:
        """The pids of the processes that serve tables, the one that answers among them."""
        found = []
        for pid in self.namespace.pids():
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"table-relaymap" in command:
                found.append(pid)
        return found


def own_memory(pid: int) -> tuple[float, float]:
    """MB that a process has mapped alone, and MB of a live file among them.

    The pages of a file are the kernel's to drop: who maps them only happens to be the only one.
    """
    all_kb, of_file_kb, of_file = 0, 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text("utf-8").splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            of_file = line.endswith("/data.mdb")
        elif words[0] in {"Private_Clean:", "Private_Dirty:"}:
            all_kb += int(words[1])
            of_file_kb += int(words[1]) if of_file else 0
    return all_kb / 1024, of_file_kb / 1024


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, in seconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0]) / 1e9
