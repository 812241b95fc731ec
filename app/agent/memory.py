"""What the agent remembers beside its generations: its id, what it has seen, how pushes ended."""

import logging
import secrets
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from app.agent import durable
from app.agent.process import Identity
from app.observe import event
from app.routing.names import IPAddress
from app.wire import LineState, PushReport, Reload, Wanted


@dataclass(frozen=True, slots=True)
class Seen:
    """The highest revision of one history that this MTA has served.

    Attributes:
        behind_push: the push with which the server offered less; only a later one is applied.
    """

    history: str
    revision: int
    model_digest: str
    behind_push: int | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """What the MTA has loaded, written down when it was seen to serve after a start.

    Attributes:
        actions: every action name of its whole configuration, ours and the operator's.
        addresses: of the host, when the MTA started: they are its `local`.
    """

    process: Identity
    actions: frozenset[str]
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """How the last push ended here.

    Attributes:
        told: whether the server has taken note of it.
    """

    push: int
    history: str
    revision: int
    model_digest: str
    state: LineState
    reload: Reload
    detail: str
    told: bool = False

    def answers(self, wanted: Wanted) -> bool:
        """Whether this is how that very push ended; a number alone may be of another history."""
        return (self.push, self.history, self.revision, self.model_digest) == (
            wanted.push,
            wanted.history,
            wanted.revision,
            wanted.model_digest,
        )

    def report(self) -> PushReport:
        """The same, for the server."""
        return PushReport(push=self.push, state=self.state, reload=self.reload, detail=self.detail)


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything, as one value; `agent` is an id made when the agent was installed."""

    agent: str
    seen: Seen | None = None
    started: Started | None = None
    ended: Ended | None = None


def is_behind(seen: Seen | None, wanted: Wanted) -> bool:
    """Whether the server offers less than this MTA has served of the same history.

    So does a database that was put back from a copy; a number that comes again with another model
    shows the same. A push made after we said so is an answer to it, and is applied.
    """
    if seen is None or seen.history != wanted.history:
        return False
    if seen.behind_push is not None and wanted.push > seen.behind_push:
        return False
    if wanted.revision == seen.revision:
        return wanted.model_digest != seen.model_digest
    return wanted.revision < seen.revision


class MemoryFile:
    """The memory on disk; each change is durable before anything is done about it.

    A disk that takes nothing more leaves it right for this life of the agent, and older after it:
    then the server hears of a push twice, or the agent is asked to make one again.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "agent.json"
        self.now = Memory("")

    def open(self) -> None:
        """Read it; the first time, make an id."""
        document: Any = durable.read_json(self._path)
        if document is None:
            self.change(agent=secrets.token_hex(8))
        else:
            self.now = _read(document)

    def change(self, **members: Any) -> None:  # noqa: ANN401  as dataclasses.replace
        """Remember other values for some members."""
        self.now = replace(self.now, **members)
        try:
            durable.replace_json(self._path, _document(self.now))
        except OSError as error:
            event("memory-not-written", logging.ERROR, reason=error.strerror)


def _document(memory: Memory) -> dict[str, object]:
    document = asdict(memory)
    if memory.started is not None:
        document["started"] |= {
            "actions": sorted(memory.started.actions),
            "addresses": [str(address) for address in memory.started.addresses],
        }
    return document


def _read(document: dict[str, Any]) -> Memory:
    seen, started, ended = (document[name] for name in ("seen", "started", "ended"))
    return Memory(
        document["agent"],
        None if seen is None else Seen(**seen),
        None if started is None else _read_started(started),
        None if ended is None else _read_ended(ended),
    )


def _read_started(document: dict[str, Any]) -> Started:
    return Started(
        Identity(**document["process"]),
        frozenset(document["actions"]),
        tuple(ip_address(text) for text in document["addresses"]),
    )


def _read_ended(document: dict[str, Any]) -> Ended:
    changed = {
        "state": LineState(document["state"]),
        "reload": Reload(document["reload"]),
    }
    return Ended(**(document | changed))
