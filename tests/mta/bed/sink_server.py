"""Run as a script inside: SMTP and LMTP servers that take mail in and tell what they took.

Commands and records are the JSON lines of `channel`. Standard library only.
"""

import asyncio
import base64
import binascii
import contextlib
import email.parser
import email.policy
import json
import re
import ssl
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

LINE_LIMIT = 1 << 20


def say(line: dict[str, Any]) -> None:
    """Write one line to whoever holds our standard output."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


@dataclass(slots=True)
class Listening:
    """One sink: where it listens, what it offers and how it misbehaves."""

    name: str
    address: str
    port: int
    protocol: str = "smtp"
    tls: str = "none"
    require_tls: bool = False
    certificate: str = ""
    logins: dict[str, str] = field(default_factory=dict)
    replies: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    server: asyncio.Server | None = None
    links: set[asyncio.StreamWriter] = field(default_factory=set)
    heard: Counter[str] = field(default_factory=Counter)

    def context(self) -> ssl.SSLContext | None:
        """Answer the TLS settings, if there is a certificate."""
        if not self.certificate:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        return context

    async def open(self) -> None:
        """Listen; on a name in use say so rather than share it."""
        context = self.context() if self.tls == "smtps" else None
        self.server = await asyncio.start_server(
            self.serve, self.address, self.port, ssl=context, limit=LINE_LIMIT, backlog=200
        )

    async def close(self) -> None:
        """Refuse connections from now on; sessions that are open go on."""
        if self.server is not None:
            self.server.close()
            self.server = None

    async def die(self) -> None:
        """Refuse connections from now on, and end those that are open without a word."""
        await self.close()
        for link in self.links:
            link.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        self.links.add(writer)
        try:
            await Session(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            return  # the client went away, as clients may
        finally:
            self.links.discard(writer)
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                writer.close()
                await writer.wait_closed()


@dataclass(slots=True)
class Session:
    """One client's dialogue (RFC 5321, RFC 2033 for LMTP)."""

    sink: Listening
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    helo: str = ""
    user: str | None = None
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Greet, then answer one line after the other until QUIT or the end."""
        await self.reply("banner", f"220 {self.sink.name}.sink.test ready")
        while True:
            line = (await self.reader.readuntil(b"\n")).decode("latin-1").rstrip("\r\n")
            verb, _, rest = line.partition(" ")
            self.sink.heard[verb.lower()] += 1
            command = getattr(self, f"on_{verb.lower()}", None)
            if command is None:
                await self.write("500 5.5.1 unknown command")
            elif await command(rest.strip()) == "end":
                return

    async def reply(self, stage: str, usual: str) -> bool:
        """Answer what this stage was told to answer, or the usual; say whether it was a yes."""
        if self.sink.delay_s:
            await asyncio.sleep(self.sink.delay_s)
        text = self.sink.replies.get(stage, usual)
        await self.write(text)
        return text[:1] in {"2", "3"}

    async def write(self, text: str) -> None:
        """Send a reply of one line or more."""
        self.writer.write(text.replace("\n", "\r\n").encode("latin-1") + b"\r\n")
        await self.writer.drain()

    async def on_helo(self, rest: str) -> None:
        """Answer HELO."""
        self.helo = rest
        await self.reply("helo", f"250 {self.sink.name}")

    async def on_ehlo(self, rest: str) -> None:
        """Answer EHLO with what is offered at this moment."""
        self.helo = rest
        offers = [self.sink.name, "8BITMIME"]
        if self.sink.tls == "starttls" and self.version() is None:
            offers.append("STARTTLS")
        if self.sink.logins and self.version() is not None:
            offers.append("AUTH PLAIN LOGIN")
        lines = [f"250-{offer}" for offer in offers[:-1]]
        await self.reply("helo", "\n".join([*lines, f"250 {offers[-1]}"]))

    async def on_lhlo(self, rest: str) -> None:
        """Answer LHLO as EHLO; a sink that speaks SMTP does not know it."""
        if self.sink.protocol == "lmtp":
            await self.on_ehlo(rest)
        else:
            await self.write("500 5.5.1 this is no LMTP server")

    async def on_starttls(self, _: str) -> None:
        """Turn to TLS (RFC 3207)."""
        context = self.sink.context()
        if context is None or self.sink.tls != "starttls":
            await self.write("502 5.5.1 not offered")
        elif await self.reply("starttls", "220 go ahead"):
            await self.writer.start_tls(context)
            self.helo = ""

    async def on_auth(self, rest: str) -> None:
        """Take a login by PLAIN or LOGIN (RFC 4954)."""
        mechanism, _, initial = rest.partition(" ")
        if mechanism.upper() == "PLAIN":
            _, user, password = (await self.ask("", initial)).split("\0", 2)
        else:
            user = await self.ask("VXNlcm5hbWU6", initial)
            password = await self.ask("UGFzc3dvcmQ6", "")
        if self.sink.logins.get(user) == password:
            self.user = user
            await self.reply("auth", "235 2.7.0 welcome")
        else:
            await self.write("535 5.7.8 wrong user or password")

    async def ask(self, prompt: str, initial: str) -> str:
        """Answer a decoded response: the initial one, or the one to a prompt."""
        if not initial:
            await self.write(f"334 {prompt}")
            initial = (await self.reader.readuntil(b"\n")).decode("ascii").strip()
        try:
            return base64.b64decode(initial).decode()
        except binascii.Error:
            return "\0\0"

    async def on_mail(self, rest: str) -> None:
        """Take the envelope sender."""
        if self.sink.require_tls and self.version() is None:
            await self.write("530 5.7.0 STARTTLS first")
        elif await self.reply("mail", "250 2.1.0 ok"):
            self.sender, self.recipients = _path(rest), []

    async def on_rcpt(self, rest: str) -> None:
        """Take one envelope recipient."""
        if self.sender is None:
            await self.write("503 5.5.1 MAIL first")
        elif await self.reply("rcpt", "250 2.1.5 ok"):
            self.recipients.append(_path(rest))

    async def on_data(self, _: str) -> None:
        """Take the message, tell of it, then answer for it: once, or per recipient in LMTP."""
        if not self.recipients:
            await self.write("503 5.5.1 RCPT first")
            return
        if not await self.reply("data", "354 go ahead"):
            return
        message = await self.reader.readuntil(b"\r\n.\r\n")
        answers = len(self.recipients) if self.sink.protocol == "lmtp" else 1
        if self.sink.replies.get("message", "250")[:1] == "2":
            self.tell(message)
        for _recipient in range(answers):
            await self.reply("message", "250 2.0.0 taken")
        self.sender, self.recipients = None, []

    async def on_rset(self, _: str) -> None:
        """Forget the envelope."""
        self.sender, self.recipients = None, []
        await self.write("250 2.0.0 ok")

    async def on_noop(self, _: str) -> None:
        """Do nothing."""
        await self.write("250 2.0.0 ok")

    async def on_quit(self, _: str) -> str:
        """Say good-bye."""
        await self.write("221 2.0.0 bye")
        return "end"

    def version(self) -> str | None:
        """Answer the TLS version of this connection, or None in plain text."""
        tls: ssl.SSLObject | None = self.writer.get_extra_info("ssl_object")
        return None if tls is None else tls.version()

    def tell(self, message: bytes) -> None:
        """Write the record of a message; before the reply to it, so that none is ever lost."""
        headers = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(
            message, headersonly=True
        )
        say(
            {
                "sink": self.sink.name,
                "protocol": self.sink.protocol,
                "client": self.writer.get_extra_info("peername")[0],
                "helo": self.helo,
                "sender": self.sender,
                "recipients": self.recipients,
                "tls": self.version(),
                "auth_user": self.user,
                "message_id": headers.get("Message-ID", ""),
                "probe": headers.get("X-Probe", ""),
                "returned": _returned(message) if self.sender == "" else "",
            }
        )


def _returned(message: bytes) -> str:
    """Answer the X-Probe of the message that a bounce brings back, or nothing."""
    body = message.partition(b"\r\n\r\n")[2]
    found = re.search(rb"^X-Probe: (\S+)", body, re.MULTILINE)
    return found[1].decode("latin-1") if found else ""


def _path(rest: str) -> str:
    """Answer the address between the angle brackets of `FROM:<…>` or `TO:<…>`."""
    return rest[rest.index("<") + 1 : rest.index(">")]


async def obey(sinks: dict[str, Listening], command: dict[str, Any]) -> object:
    """Do what a command says and answer for it."""
    match command["verb"]:
        case "open":
            sink = Listening(**command["sink"])
            await sink.open()
            sinks[sink.name] = sink
        case "close":
            await sinks[command["name"]].close()
        case "die":
            await sinks[command["name"]].die()
        case "reopen":
            await sinks[command["name"]].open()
        case "behave":
            sinks[command["name"]].replies = command["replies"]
            sinks[command["name"]].delay_s = command["delay_s"]
        case "know":
            sinks[command["name"]].logins = command["logins"]
        case "heard":
            return dict(sinks[command["name"]].heard)
        case other:
            raise ValueError(f"no such verb: {other}")
    return None


async def main() -> None:
    """Obey commands from standard input until it ends."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader(limit=LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    sinks: dict[str, Listening] = {}
    while line := await commands.readline():
        command = json.loads(line)
        try:
            say({"id": command["id"], "answer": await obey(sinks, command)})
        except (OSError, ValueError, KeyError, ssl.SSLError) as error:
            say({"id": command["id"], "error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    asyncio.run(main())
