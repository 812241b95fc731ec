"""Run as a script inside: send messages from the addresses, users and HELOs that they name.

Commands and answers are the JSON lines of `channel`. Standard library only.
"""

import asyncio
import base64
import json
import re
import ssl
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

CONNECTIONS = 6
# smtpd takes 100 messages in a session (452 4.5.3), and counts failed commands against it.
MESSAGES_A_SESSION = 90
REFUSALS_A_SESSION = 8
STREAM_LIMIT = 1 << 20
SESSION = ("socket", "client", "host", "port", "helo", "user", "password")

Job = dict[str, Any]


class Refused(Exception):
    """The server said no before the recipient was asked about."""

    def __init__(self, stage: str, code: int, text: str) -> None:
        super().__init__(stage, code, text)
        self.result = {"stage": stage, "code": code, "text": text}


@dataclass(slots=True)
class Server:
    """One SMTP connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, job: Job, ciphers: str) -> "Server":
        """Connect from the job's address, greet, and log in where the job names a user."""
        local = (job["client"], 0) if job["client"] else None
        reader, writer = await asyncio.open_connection(
            job["host"], job["port"], local_addr=local, limit=STREAM_LIMIT
        )
        server = cls(reader, writer)
        await server.expect("connect", None)
        await server.expect("helo", f"EHLO {job['helo']}")
        if job["user"]:
            await server.log_in(job, ciphers)
        return server

    async def log_in(self, job: Job, ciphers: str) -> None:
        """Turn to TLS, since smtpd offers no AUTH without, and log in."""
        await self.expect("starttls", "STARTTLS")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if ciphers:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ciphers)
        await self.writer.start_tls(context)
        await self.expect("helo", f"EHLO {job['helo']}")
        login = f"\0{job['user']}\0{job['password']}".encode()
        await self.expect("auth", f"AUTH PLAIN {base64.b64encode(login).decode()}")

    async def command(self, line: str | None) -> tuple[int, str]:
        """Send a line, if there is one, and answer the reply's code and its last line's text."""
        if line is not None:
            self.writer.write(line.encode() + b"\r\n")
        while True:
            reply = (await self.reader.readuntil(b"\n")).decode("latin-1").rstrip("\r\n")
            if reply[3:4] != "-":
                return int(reply[:3]), reply[4:]

    async def expect(self, stage: str, line: str | None) -> tuple[int, str]:
        """Send a line whose answer must be a yes, and answer it.

        Raises:
            Refused: with the stage, if it is not.
        """
        code, text = await self.command(line)
        if code >= 400:
            raise Refused(stage, code, text)
        return code, text

    async def send(self, job: Job) -> dict[str, Any]:
        """Send one message and answer what became of it."""
        try:
            await self.expect("mail", f"MAIL FROM:<{job['sender']}>")
            code, text = await self.expect("rcpt", f"RCPT TO:<{job['recipient']}>")
            await self.expect("data", "DATA")
            await self.expect("message", message(job).replace("\n", "\r\n") + "\r\n.")
        except Refused as refused:
            await self.command("RSET")
            return refused.result
        return {"stage": "accepted", "code": code, "text": text}

    async def close(self) -> None:
        """Say good-bye."""
        await self.command("QUIT")
        self.writer.close()


def message(job: Job) -> str:
    """Answer a small message that can be told from every other."""
    return (
        f"From: <{job['sender']}>\nTo: <{job['recipient']}>\nSubject: probe {job['probe']}\n"
        f"Date: Thu, 01 Jan 2026 00:00:00 +0000\nMessage-ID: <{job['probe']}@bed.test>\n"
        f"X-Probe: {job['probe']}\n\nprobe\n"
    )


async def over_smtp(jobs: list[Job], ciphers: str) -> list[dict[str, Any]]:
    """Send jobs that share client, listener, HELO and user, one after the other."""
    results: list[dict[str, Any]] = []
    server: Server | None = None
    sent = refused = 0
    try:
        for job in jobs:
            if server is None:
                server = await Server.connect(job, ciphers)
                sent = refused = 0
            results.append(await server.send(job))
            sent += 1
            refused += results[-1]["stage"] != "accepted"
            if sent >= MESSAGES_A_SESSION or refused >= REFUSALS_A_SESSION:
                await server.close()
                server = None
    except Refused as early:  # the session itself was refused: so is all that it was for
        results += [early.result] * (len(jobs) - len(results))
    if server is not None:
        await server.close()
    return results


async def over_socket(job: Job) -> dict[str, Any]:
    """Send one message by sendmail(8), which hands it over by the control socket."""
    argv = ["sendmail", "-f", job["sender"] or "<>", "--", job["recipient"]]
    child = await asyncio.to_thread(
        subprocess.run, argv, input=message(job), capture_output=True, text=True, check=False
    )
    said = child.stdout + child.stderr
    if child.returncode == 0:
        return {"stage": "accepted", "code": 250, "text": said}
    found = re.search(r"\b([45]\d\d) (.*)", said)
    code, text = (int(found[1]), found[2]) if found else (0, said)
    return {"stage": "rcpt", "code": code, "text": text}


async def send_all(jobs: list[Job], ciphers: str) -> list[dict[str, Any]]:
    """Send all jobs, several sessions at once, and answer for each in the order given."""
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for place, job in enumerate(jobs):
        groups[tuple(job[part] for part in SESSION)].append(place)
    results: list[dict[str, Any]] = [{}] * len(jobs)
    free = asyncio.Semaphore(CONNECTIONS)

    async def send_group(places: list[int]) -> None:
        async with free:
            group = [jobs[place] for place in places]
            if group[0]["socket"]:
                answers = [await over_socket(job) for job in group]
            else:
                answers = await over_smtp(group, ciphers)
        for place, answer in zip(places, answers, strict=True):
            results[place] = answer

    async with asyncio.TaskGroup() as tasks:
        for places in groups.values():
            tasks.create_task(send_group(places))
    return results


async def main() -> None:
    """Obey commands from standard input until it ends."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        answer: dict[str, Any] = {"id": command["id"]}
        try:
            answer["answer"] = await send_all(command["jobs"], command["ciphers"])
        except* (OSError, EOFError) as errors:
            answer["error"] = "; ".join(f"{type(e).__name__}: {e}" for e in errors.exceptions)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
