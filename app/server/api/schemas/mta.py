"""MTAs over HTTP: what clients write, how each stands, what its version can do, its files."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import MISSING

from app.render.opensmtpd.rows import Capability, Mode, Verdict, Version
from app.server.api.schemas.model import In, Lax, Out, Time
from app.server.api.schemas.texts import Line, Name
from app.server.fleet import Standing
from app.server.preview import Previewed
from app.server.storage import MtaRow
from app.wire import MtaState, Report


class Driver(StrEnum):
    """Which kind of MTA it is."""

    OPENSMTPD = "opensmtpd"


class MtaIn(In):
    """An MTA. Its paths and commands are in its agent's own settings; the server names none."""

    READ_ONLY = frozenset({"created_at", "updated_at"})
    EXAMPLE: ClassVar[object] = {
        "name": "mx-out-1",
        "driver": "opensmtpd",
        "description": "first of the outbound pair",
    }

    name: Name | None = None
    """As in the path."""
    driver: Annotated[Driver, Lax] = Driver.OPENSMTPD
    description: Line = ""
    """One line for people; it is never sent to the MTA."""


class MtaPatch(In):
    """What to change of an MTA (RFC 7396)."""

    READ_ONLY = frozenset({"created_at", "updated_at"})
    EXAMPLE: ClassVar[object] = {"description": "moved to the second rack"}

    name: Name | MISSING = MISSING
    driver: Annotated[Driver, Lax] | MISSING = MISSING
    description: Line | MISSING = MISSING


class MtaOut(Out):
    """An MTA."""

    EXAMPLE: ClassVar[object] = {
        "name": "mx-out-1",
        "driver": "opensmtpd",
        "description": "first of the outbound pair",
        "created_at": "2026-05-01T12:00:00Z",
        "updated_at": "2026-05-01T12:00:00Z",
    }

    name: str
    driver: Driver
    description: str
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, row: MtaRow) -> "MtaOut":
        """The answer for a row."""
        return cls(
            name=row.name,
            driver=Driver(row.driver),
            description=row.description,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class MtaPage(Out):
    """Some MTAs, by name."""

    items: list[MtaOut]
    next_cursor: str | None


class WantedOut(Out):
    """What the newest push wants of an MTA."""

    push: int
    history: str
    revision: int
    model_digest: str
    """Empty where it cannot be told any more."""


class ObservedOut(Out):
    """What an MTA serves, as its agent saw it."""

    history: str
    revision: int
    model_digest: str
    files_digest: str


class MtaStatus(Out):
    """How an MTA stands; it changes by itself and has no ETag."""

    EXAMPLE: ClassVar[object] = {
        "state": "live",
        "live": True,
        "wanted": {
            "push": 7,
            "history": "h3kqw2vn5c7y",
            "revision": 42,
            "model_digest": "9f6f…",
        },
        "observed": {
            "history": "h3kqw2vn5c7y",
            "revision": 42,
            "model_digest": "9f6f…",
            "files_digest": "5d1c…",
        },
        "version": "6.8.0p2",
        "addresses": ["127.0.0.1", "192.0.2.25", "::1"],
        "certificates": ["mx-out-1"],
        "cas": ["internal"],
        "detail": "",
        "seen_at": "2026-05-01T12:00:00Z",
    }

    state: MtaState
    live: bool
    """Whether it asks the table program for each message; else its rules are in static files."""
    wanted: WantedOut | None
    observed: ObservedOut | None
    version: str | None
    addresses: list[str]
    certificates: list[str]
    """Names of key pairs that rules may use: `pki` in the operator's file."""
    cas: list[str]
    """Names of CAs that rules may use."""
    detail: str
    seen_at: Time | None

    @classmethod
    def of(cls, standing: Standing) -> "MtaStatus":
        """The answer for a standing."""
        row = standing.report
        wanted = standing.wanted
        said = None if row is None else row.report
        return cls(
            state=standing.state,
            live=said is not None and said.live,
            wanted=None
            if wanted is None or standing.push is None
            else WantedOut(
                push=standing.push,
                history=wanted.history,
                revision=wanted.revision,
                model_digest=wanted.model_digest,
            ),
            observed=None
            if said is None or said.observed is None
            else ObservedOut.model_validate(said.observed),
            version=None if said is None else said.version,
            addresses=[] if said is None else said.addresses,
            certificates=[] if said is None else said.certificates,
            cas=[] if said is None else said.cas,
            detail=standing.detail,
            seen_at=None if row is None else row.seen_at,
        )


class CapabilityOut(Out):
    """One feature on one range of versions."""

    EXAMPLE: ClassVar[object] = {
        "code": "certificate",
        "feature": "action: certificate",
        "since": "6.4",
        "before": "7.3",
        "verdict": "refused",
        "detail": "client certificates fail with OpenSSL 3",
        "mode": "any",
    }

    code: str
    feature: str
    since: str
    before: str | None
    """The first version that it no longer holds for."""
    verdict: Verdict
    """`exact`: as `resolve` says. `refused`: a push of it is refused. `differs`: see `detail`."""
    detail: str
    mode: Mode
    """`static`: where it reads files. `live`: where it asks the table program. `any`: in both."""

    @classmethod
    def of(cls, row: Capability) -> "CapabilityOut":
        """The answer for a row."""
        return cls(
            code=row.code,
            feature=row.feature,
            since=_dotted(row.since),
            before=None if row.before is None else _dotted(row.before),
            verdict=row.verdict,
            detail=row.detail,
            mode=row.mode,
        )


class Capabilities(Out):
    """What the version of an MTA can do of the grammar of rules."""

    driver: Driver
    version: str | None
    """As its agent reported it; null: no agent has, and every row is listed."""
    live: bool | None
    """Whether it asks the table program; null: no agent has reported."""
    items: list[CapabilityOut]

    @classmethod
    def of(cls, driver: str, report: Report | None, rows: Iterable[Capability]) -> "Capabilities":
        """The answer for rows of a driver's table."""
        return cls(
            driver=Driver(driver),
            version=None if report is None else report.version,
            live=None if report is None else report.live,
            items=[CapabilityOut.of(row) for row in rows],
        )


class PreviewFile(Out):
    """One file as it would be; what is secret shows as `********`."""

    name: str
    mode: str
    """Permission bits, octal."""
    content: str | None
    """Null where only the difference was asked for."""
    diff: str | None
    """Against what is live, as `diff -u` writes it; empty: nothing changes."""


class Preview(Out):
    """The files of an MTA as a push of the head would make them."""

    EXAMPLE: ClassVar[object] = {
        "revision": 42,
        "version": "6.8",
        "reload": "table-update",
        "files": [
            {"name": "relaymap.conf", "mode": "0640", "content": "# …\n", "diff": None},
        ],
    }

    revision: int
    version: str
    reload: str | None
    """What the MTA would have to do; null where what is live is not known."""
    files: list[PreviewFile]

    @classmethod
    def of(cls, revision: int, seen: Previewed, *, only_diff: bool) -> "Preview":
        """The answer for what was rendered."""
        files = [
            PreviewFile(
                name=file.name,
                mode=f"{file.mode:04o}",
                content=None if only_diff and file.diff is not None else file.content,
                diff=file.diff if only_diff else None,
            )
            for file in seen.files
            if only_diff or file.mode
        ]
        version = _dotted(seen.version)
        return cls(revision=revision, version=version, reload=seen.reload, files=files)


def _dotted(version: Version) -> str:
    return ".".join(str(part) for part in version)
