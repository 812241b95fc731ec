"""Questions and answers: where would this envelope go, and what does a relay URL mean."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from app.routing.conditions import parse_tag
from app.routing.envelope import parse_client, parse_helo
from app.routing.errors import Refused
from app.routing.names import parse_user
from app.routing.relay_url import TLS, Protocol, RelayURL
from app.routing.route import Candidate, Host, Resolution, Route, Step, Transport
from app.server.api.outcome import Outcome, because_of, code_of, outcome_of
from app.server.api.parameters import fault, spelt
from app.server.api.schemas.model import In, Out
from app.server.api.schemas.texts import Name

LONGEST_ADDRESS = 1000
"""More than any mailbox has (RFC 5321 4.5.3.1: 64 + 1 + 255); longer ones are no question."""
MAX_DRAW = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 8259 6)."""


def _check_client(text: str) -> str:
    try:
        parse_client(text)
    except Refused as refused:
        raise fault(refused.code, str(refused)) from None
    return text


MailAddress = Annotated[str, Field(max_length=LONGEST_ADDRESS)]
Client = Annotated[str, Field(max_length=64), AfterValidator(_check_client)]
AuthUser = Annotated[str, spelt(parse_user)]
Helo = Annotated[str, spelt(parse_helo)]
Tag = Annotated[str, spelt(parse_tag)]
DrawNumber = Annotated[int, Field(ge=0, le=MAX_DRAW)]


class Question(In):
    """One envelope: where would it go?"""

    EXAMPLE: ClassVar[object] = {
        "recipient": "joe@example.net",
        "sender": "ann@shop.example",
        "client": "192.0.2.7",
        "auth_user": "shop",
        "explain": True,
        "draw": 1,
    }

    recipient: MailAddress
    """RCPT TO, without angle brackets."""
    sender: MailAddress = ""
    """MAIL FROM; empty for the null sender."""
    client: Client = "local"
    """`local`, or the address that the client connects from."""
    auth_user: AuthUser | None = None
    """The name given to SMTP AUTH."""
    helo: Helo | None = None
    """What the client said with HELO or EHLO."""
    tag: Tag | None = None
    """Of the listener."""
    mta: Name | None = None
    """On this MTA: on the revision in force there, its addresses `local` too, relays that are down
    there left out."""
    explain: bool = False
    """Answer which rules were tried, and why each did not match."""
    draw: DrawNumber | None = None
    """Fixes turn and chance: the same question with the same number has the same answer."""


class HostOut(Out):
    """A host and port to connect to."""

    host: str
    port: int

    @classmethod
    def of(cls, host: Host) -> "HostOut":
        """The answer for a host."""
        return cls(host=host.host, port=host.port)


class TransportOut(Out):
    """How a message is handed over."""

    protocol: Protocol
    tls: TLS
    verify: bool | None
    """Null where TLS is opportunistic or off: nobody checks then."""
    credential: str | None
    certificate: str | None
    ca: str | None
    sources: list[str]
    helo: str | None

    @classmethod
    def of(cls, transport: Transport) -> "TransportOut":
        """The answer for a transport."""
        return cls(
            protocol=transport.protocol,
            tls=transport.tls,
            verify=transport.verify,
            credential=transport.credential,
            certificate=transport.certificate,
            ca=transport.ca,
            sources=[str(address) for address in transport.sources],
            helo=transport.helo,
        )


class CandidateOut(Out):
    """One place that a message may go to."""

    relay: str | None
    share: float | None
    """The part of such mail that it gets now; null for MX hosts."""
    mx: HostOut
    transport: TransportOut
    url: str | None

    @classmethod
    def of(cls, candidate: Candidate) -> "CandidateOut":
        """The answer for a candidate."""
        return cls(
            relay=candidate.relay,
            share=candidate.share,
            mx=HostOut.of(candidate.mx),
            transport=TransportOut.of(candidate.transport),
            url=None if candidate.url is None else str(candidate.url),
        )


class StepOut(Out):
    """One rule that was tried."""

    rule: str
    matched: bool
    because: str | None
    """The first condition that said no."""

    @classmethod
    def of(cls, step: Step) -> "StepOut":
        """The answer for a step."""
        return cls(rule=step.rule, matched=step.matched, because=step.because)


class ResolutionOut(Out):
    """Where an envelope goes, or why it goes nowhere; what does not apply is null."""

    outcome: Outcome
    revision: int
    """That the answer is of: the newest, or with `mta` the one in force there."""
    rule: str | None
    table: str | None
    relay_map: str | None
    relay: str | None
    mx: HostOut | None
    transport: TransportOut | None
    url: str | None
    mail_from: str | None
    because: str | None
    retry_after_s: int | None
    candidates: list[CandidateOut] | None
    """In the order in which they are tried."""
    trace: list[StepOut] | None
    """Null without `explain`."""

    @classmethod
    def of(cls, found: Resolution, revision: int, *, explain: bool) -> "ResolutionOut":
        """The answer for a resolution."""
        route = found if isinstance(found, Route) else None
        candidates = [CandidateOut.of(each) for each in route.candidates] if route else None
        chosen = candidates[0] if candidates else None
        return cls(
            outcome=outcome_of(found),
            revision=revision,
            rule=getattr(found, "rule", None),
            table=getattr(found, "table", None),
            relay_map=getattr(found, "relay_map", None),
            relay=chosen.relay if chosen else None,
            mx=chosen.mx if chosen else None,
            transport=chosen.transport if chosen else None,
            url=chosen.url if chosen else None,
            mail_from=route.mail_from if route else None,
            because=because_of(found),
            retry_after_s=getattr(found, "retry_after_s", None),
            candidates=candidates,
            trace=[StepOut.of(step) for step in found.trace] if explain else None,
        )

    @staticmethod
    def line(found: Resolution) -> str:
        """The same in one line."""
        return f"{outcome_of(found).value} {code_of(found)}".rstrip()


class RelayUrlOut(Out):
    """What a relay URL means."""

    EXAMPLE: ClassVar[object] = {
        "url": "tls+auth://acct@mx1.example.net:587",
        "protocol": "smtp",
        "tls": "starttls",
        "host": "mx1.example.net",
        "port": 587,
        "credential": "acct",
    }

    url: str
    """In canonical spelling."""
    protocol: Protocol
    tls: TLS
    host: str
    port: int
    credential: str | None
    """The label that it logs in with."""

    @classmethod
    def of(cls, url: RelayURL) -> "RelayUrlOut":
        """The answer for a relay URL."""
        return cls(
            url=str(url),
            protocol=url.protocol,
            tls=url.tls,
            host=url.host,
            port=url.effective_port,
            credential=url.credential,
        )
