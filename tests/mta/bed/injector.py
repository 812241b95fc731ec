"""Send messages inside a namespace as the clients that envelopes name, and answer for each."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.mta.bed.channel import Channel
from tests.mta.bed.namespace import Namespace

SOCKET = "socket"
"""The client that hands its mail over by smtpd's control socket: sendmail(8)."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One message to send: its envelope, and how it reaches the daemon.

    `client` is `socket` or an address that can be bound inside ("" for the kernel's choice);
    `host` and `port` are the listener; `probe` is carried in X-Probe and in the Message-ID.
    """

    probe: str
    sender: str
    recipient: str
    port: int = 0
    host: str = "127.0.0.1"
    client: str = ""
    helo: str = "client.test"
    user: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the daemon said: at which stage, or `accepted` with the reply to RCPT."""

    stage: str
    code: int
    text: str

    @property
    def accepted(self) -> bool:
        """Say whether the daemon has taken the message."""
        return self.stage == "accepted"


@dataclass(slots=True)
class Injector:
    """One process inside that sends what it is told to.

    `ciphers` is an OpenSSL cipher list for the sessions that log in, with TLS 1.2 at most.
    """

    channel: Channel
    ciphers: str = ""

    @classmethod
    def open(cls, namespace: Namespace, ciphers: str = "") -> Self:
        """Start the process."""
        script = Path(__file__).with_name("inject_client.py")
        return cls(Channel.open(namespace, script), ciphers)

    def close(self) -> None:
        """End the process."""
        self.channel.close()

    def send(self, submissions: Iterable[Submission]) -> list[Reply]:
        """Send all and answer the replies in the same order; several sessions run at once."""
        jobs = [_job(submission) for submission in submissions]
        answers = self.channel.call("send", jobs=jobs, ciphers=self.ciphers)
        return [Reply(**answer) for answer in answers]


def _job(submission: Submission) -> dict[str, object]:
    by_socket = submission.client == SOCKET
    return {
        "socket": by_socket,
        "client": "" if by_socket else submission.client,
        "host": submission.host,
        "port": submission.port,
        "helo": submission.helo,
        "user": submission.user,
        "password": submission.password,
        "sender": submission.sender,
        "recipient": submission.recipient,
        "probe": submission.probe,
    }
