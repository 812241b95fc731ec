"""The demonstration's machine: server, agent, smtpd, three sinks; calls to it, mail through it."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.mta.bed.certificates import Authority
from tests.mta.bed.dns import Dns
from tests.mta.bed.injector import Injector, Submission
from tests.mta.bed.namespace import WORKSPACE, Inside, Namespace
from tests.mta.bed.sinks import Sink, Sinks
from tests.mta.bed.smtpd import CONF, Listener, Settings, Smtpd

ROOT = Path(__file__).resolve().parents[2]
MTA = "mx-out-1"
SENDER = "sender.example"
PORT = 8025
SMTP_PORT = 27301
SINKS = (Sink("a", "127.0.1.11"), Sink("b", "127.0.1.12"), Sink("c", "127.0.1.13"))
STATE = f"{WORKSPACE}/server"
AGENT_STATE = f"{WORKSPACE}/agent"
CA_FILE = f"{WORKSPACE}/partner-ca.pem"
_LIMIT_S = 30
_PAUSE_S = 0.05


Answer = dict[str, Any]
"""The body of an answer; empty where there is none."""


class NotAsTold(Exception):
    """Something in the demonstration went otherwise than it must."""


@dataclass(slots=True)
class Site:
    """Everything that runs, inside one namespace."""

    namespace: Namespace
    sinks: Sinks
    smtpd: Smtpd
    injector: Injector
    server: Inside | None = None
    agent: Inside | None = None
    sent: int = 0

    @classmethod
    def open(cls) -> Self:
        """Make the machine, with an operator's smtpd.conf that includes our rules last."""
        namespace = Namespace.open()
        Dns.open(namespace, {})
        smtpd = Smtpd(namespace)
        smtpd.configure(
            Settings(
                (Listener(SMTP_PORT, addresses=("127.0.0.1",)),),
                declarations=(f'ca partner cert "{CA_FILE}"',),
                include=f"{AGENT_STATE}/live/relaymap.conf",
            )
        )
        smtpd.write(CA_FILE, Authority.create("partner").pem())
        return cls(namespace, Sinks.open(namespace, *SINKS), smtpd, Injector.open(namespace))

    def __enter__(self) -> Self:
        """Answer itself: leaving it ends everything."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything; after an error, show what the processes logged last."""
        if error is not None:
            self._tell_logs()
        self.namespace.close()

    def start_server(self) -> None:
        """Start the server and wait until it is ready."""
        self.server = self._start(
            "serve", {"RELAYMAP_STATE_DIR": STATE, "RELAYMAP_PORT": f"{PORT}"}
        )
        self._until("the server is ready", lambda: self._ready(self.server))

    def start_agent(self, token: str) -> None:
        """Start the agent beside smtpd, which it then runs, and wait until the server saw both."""
        token_file = f"{WORKSPACE}/agent.token"
        self.smtpd.write(token_file, f"{token}\n", mode=0o600)
        self.agent = self._start(
            "agent",
            {
                "RELAYMAP_AGENT_SERVER": f"http://127.0.0.1:{PORT}",
                "RELAYMAP_AGENT_MTA": MTA,
                "RELAYMAP_AGENT_TOKEN_FILE": token_file,
                "RELAYMAP_AGENT_STATE_DIR": AGENT_STATE,
                "RELAYMAP_AGENT_SMTPD_CONF": CONF,
                "RELAYMAP_AGENT_CONTROL": "supervise",
            },
        )
        self._until("the agent reports", lambda: self._seen(self.agent))

    def call(self, method: str, path: str, body: object = None, status: int = 200) -> Answer:
        """Make a call, print it and its answer, and answer the body.

        Raises:
            NotAsTold: the status is another one.
        """
        sent = "" if body is None else f" --json '{json.dumps(body)}'"
        print(f"   curl -X {method} localhost:{PORT}{path}{sent}")
        answered, headers, document = self._ask(method, path, body)
        facts = [f"{answered}", *_facts(document)]
        if "Relay-Revision" in headers:
            facts.append(f"revision {headers['Relay-Revision']}")
        if "Relay-Push" in headers and answered == status < 400:
            facts += _facts(self._ask("GET", f"/v1/pushes/{headers['Relay-Push']}", None)[2])
        print(f"   -> {'; '.join(facts)}")
        if answered != status:
            raise NotAsTold(f"{method} {path}: {answered} instead of {status}: {document}")
        return document

    def mail(self, n: int, domain: str, wanted: Mapping[str, int], sender: str) -> None:
        """Send messages, print what each sink counted, and hold it against what is wanted.

        Args:
            n: how many.
            domain: of their recipients.
            wanted: how many each sink should take.
            sender: the domain of the envelope sender that the sinks should see.

        Raises:
            NotAsTold: a message was refused, or they fell otherwise.
        """
        self.sinks.forget()
        self.smtpd.hold()
        submissions = [
            Submission(f"m{self.sent + i}", f"shop{i}@{SENDER}", f"u{i}@{domain}", SMTP_PORT)
            for i in range(n)
        ]
        self.sent += n
        refused = [reply for reply in self.injector.send(submissions) if not reply.accepted]
        self.smtpd.release()
        self.sinks.wait_for(n - len(refused))
        counts = self.sinks.counts()
        fell = ", ".join(f"{sink.name} {counts[sink.name]}" for sink in SINKS)
        senders = sorted({delivery.sender.partition("@")[2] for delivery in self.sinks.taken})
        print(f"   {n} messages to {domain}: sinks took {fell}, from @{', @'.join(senders)}")
        if refused or any(counts[name] != count for name, count in wanted.items()):
            raise NotAsTold(f"the sinks should have taken {wanted}; {len(refused)} were refused")
        if senders != [sender]:
            raise NotAsTold(f"the sender's domain should have been {sender}")

    def smtpd_pid(self) -> int:
        """Answer the pid of smtpd's first process, which a restart changes."""
        return self.smtpd.pids()[0]

    def _start(self, command: str, environment: dict[str, str]) -> Inside:
        with self.namespace.outside(f"{WORKSPACE}/{command}.log").open("wb") as log:
            return self.namespace.popen(
                [sys.executable, "-m", "app", command],
                stderr=log,
                stdout=subprocess.DEVNULL,
                environment={"PYTHONPATH": str(ROOT)} | environment,
            )

    def _ready(self, server: Inside | None) -> bool:
        _must_run(server)
        try:
            return self._ask("GET", "/readyz", None)[0] == 200
        except ConnectionError:
            return False

    def _seen(self, agent: Inside | None) -> bool:
        _must_run(agent)
        state = self._ask("GET", f"/v1/mtas/{MTA}/status", None)[2]["state"]
        return state not in {"never-seen", "unknown", "stopped"}

    def _until(self, what: str, reached: Callable[[], bool]) -> None:
        limit = time.monotonic() + _LIMIT_S
        while not reached():
            if time.monotonic() > limit:
                raise NotAsTold(f"not in time: {what}")
            time.sleep(_PAUSE_S)

    def _ask(
        self, method: str, path: str, body: object
    ) -> tuple[int, http.client.HTTPMessage, Answer]:
        connection = http.client.HTTPConnection("127.0.0.1", PORT)
        connection.sock = self.namespace.connect("127.0.0.1", PORT)
        connection.sock.settimeout(2 * _LIMIT_S)
        headers = {"Host": f"127.0.0.1:{PORT}"}
        if path.startswith("/v1/"):
            headers["Authorization"] = f"Bearer {self._token()}"
        payload = None if body is None else json.dumps(body)
        if payload is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, payload, headers)
        answer = connection.getresponse()
        document = json.loads(answer.read() or b"{}")
        connection.close()
        return answer.status, answer.headers, document

    def _token(self) -> str:
        return self.namespace.outside(f"{STATE}/admin.token").read_text("ascii").strip()

    def _tell_logs(self) -> None:
        for name in ("serve", "agent"):
            log = self.namespace.outside(f"{WORKSPACE}/{name}.log")
            if log.exists():
                print(f"--- the end of the log of {name}", file=sys.stderr)
                print(log.read_text("utf-8", "replace")[-3000:], file=sys.stderr)


def _must_run(process: Inside | None) -> None:
    if process is None or process.poll() is not None:
        raise NotAsTold("a process has ended")


def _facts(document: Answer) -> list[str]:
    """Answer what matters of a body, in a few words."""
    told = ("code", "outcome", "relay", "url")
    facts = [str(document[name]) for name in told if document.get(name)]
    for line in (document.get("push") or document).get("mtas") or ():
        how = f" by {line['reload']}" if line.get("reload") not in {None, "none"} else ""
        why = f": {line['detail']}" if line.get("detail") else ""
        facts.append(f"{line['mta']} {line['state']}{how}{why}")
    return facts
