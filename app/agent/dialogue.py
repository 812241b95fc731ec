"""One SMTP or LMTP session that hands over no mail, read within bounds.

What a peer says is looked at, and never kept or repeated: a code of ours and a number leave here.
RFC 5321, 2033 (LMTP), 3207 (STARTTLS), 4954 (AUTH).
"""

import asyncio
import base64
import contextlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.routing.errors import ControlError
from app.wire import Cause

MAX_LINE = 2_048
"""Octets; RFC 5321 4.5.3.1.5 allows 512."""
MAX_LINES = 100
_QUIT_LIMIT_S = 1.0
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([^\r\n]*))?\r?\n")
_LOGIN_ASKS = 334


class Fails(ControlError):
    """The peer is not one that mail can be handed to, as far as this session went."""

    code = "relay-fails"

    def __init__(self, cause: Cause, reply: int | None = None) -> None:
        super().__init__(f"{cause.value}{'' if reply is None else f' ({reply})'}")
        self.cause = cause
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply.

    Attributes:
        extensions: of EHLO: each keyword in upper case, with what stands after it.
    """

    code: int
    extensions: Mapping[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether it says yes."""
        return 200 <= self.code < 300


class Dialogue:
    """A session over one connection.

    Attributes:
        silence: what it means if the peer says nothing more from here on.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._outer: list[asyncio.StreamWriter] = []  # one that is let go of closes what is below
        self.silence = Cause.TIMEOUT

    async def greeting(self) -> None:
        """Wait for the banner.

        Raises:
            Fails: it is none.
        """
        self.silence = Cause.NO_BANNER
        try:
            first = await self._reader.read(1)
        except OSError as error:
            raise Fails(Cause.NO_BANNER) from error
        if not first:
            raise Fails(Cause.NO_BANNER)
        self.silence = Cause.NOT_SMTP
        reply = await self._reply(first)
        if reply.code != 220:
            raise Fails(Cause.NO_BANNER, reply.code)
        self.silence = Cause.TIMEOUT

    async def hello(self, name: str, *, lmtp: bool) -> Mapping[str, str]:
        """Say who we are, and answer what the peer can do.

        Raises:
            Fails: it does not want to hear it.
        """
        reply = await self.ask(f"{'LHLO' if lmtp else 'EHLO'} {name}")
        if reply.code != 250 and not lmtp:
            reply = await self.ask(f"HELO {name}")
        if reply.code != 250:
            raise Fails(Cause.NOT_SMTP, reply.code)
        return reply.extensions

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Ask for TLS and begin it; what the peer said before is forgotten.

        Raises:
            Fails: it does not want to, or cannot.
        """
        reply = await self.ask("STARTTLS")
        if reply.code != 220:
            raise Fails(Cause.STARTTLS_MISSING, reply.code)
        await self.tls(context, host, Cause.STARTTLS_MISSING)

    async def tls(self, context: ssl.SSLContext, host: str, otherwise: Cause) -> None:
        """Begin TLS.

        Args:
            context: what is asked of the peer.
            host: the name that its certificate must bear, where the context asks.
            otherwise: the cause where it is not the certificate.

        Raises:
            Fails: it cannot be begun.
        """
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_LINE)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport = await loop.start_tls(
                self._writer.transport, protocol, context, server_hostname=host
            )
        except ssl.SSLCertVerificationError as error:
            raise Fails(Cause.CERTIFICATE) from error
        except OSError as error:  # ssl.SSLError is one
            raise Fails(otherwise) from error
        if transport is None:
            raise Fails(otherwise)  # it was gone already
        # A reader of its own: what came in the clear must not be taken for what came inside.
        protocol.connection_made(transport)
        self._reader = reader
        self._outer.append(self._writer)
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)

    async def log_in(self, extensions: Mapping[str, str], login: tuple[str, str]) -> None:
        """Prove who we are; only to be called inside TLS.

        Raises:
            Fails: `auth-refused`.
        """
        mechanisms = extensions.get("AUTH", "").upper().split()
        user, password = (part.encode() for part in login)
        if "PLAIN" in mechanisms:
            token = _base64(b"\0".join((b"", user, password)))
            reply = await self.ask(f"AUTH PLAIN {token}")
        elif "LOGIN" in mechanisms:
            reply = await self.ask("AUTH LOGIN")
            for part in (user, password):
                if reply.code != _LOGIN_ASKS:
                    break
                reply = await self.ask(_base64(part))
        else:
            raise Fails(Cause.AUTH_REFUSED)
        if not reply.good:
            raise Fails(Cause.AUTH_REFUSED, reply.code)

    async def leave(self) -> None:
        """Say good-bye; how that is taken does not matter."""
        with contextlib.suppress(Fails, TimeoutError):
            async with asyncio.timeout(_QUIT_LIMIT_S):
                await self.ask("QUIT")

    def drop(self) -> None:
        """Let go of the connection at once."""
        for writer in (self._writer, *self._outer):
            writer.transport.abort()

    async def ask(self, line: str) -> Reply:
        """Send one command and wait for its reply.

        Raises:
            Fails: what comes is no reply.
        """
        try:
            self._writer.write(line.encode("ascii") + b"\r\n")
            await self._writer.drain()
        except OSError as error:
            raise Fails(Cause.NOT_SMTP) from error
        return await self._reply(b"")

    async def _reply(self, begun: bytes) -> Reply:
        extensions = {}
        for _ in range(MAX_LINES):
            line = _LINE.fullmatch(begun + await self._line())
            if line is None:
                raise Fails(Cause.NOT_SMTP)
            begun = b""
            keyword, _, rest = (line[3] or b"").decode("ascii", "replace").partition(" ")
            extensions[keyword.upper()] = rest
            if line[2] != b"-":
                return Reply(int(line[1]), extensions)
        raise Fails(Cause.NOT_SMTP)

    async def _line(self) -> bytes:
        try:
            return await self._reader.readline()
        except (OSError, ValueError) as error:  # ValueError: longer than MAX_LINE
            raise Fails(Cause.NOT_SMTP) from error


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
