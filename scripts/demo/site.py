"""The demonstration's machine: server, agent, smtpd, relays; and calls to its server."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scripts.demo.flow import SMTP_PORT, Flow, NotAsTold, Relays
from tests.mta.agents import table_program
from tests.mta.bed.certificates import Authority
from tests.mta.bed.dns import Dns
from tests.mta.bed.injector import Injector
from tests.mta.bed.namespace import WORKSPACE, Inside, Namespace
from tests.mta.bed.sinks import Sink
from tests.mta.bed.smtpd import CONF, Listener, Settings, Smtpd

ROOT = Path(__file__).resolve().parents[2]
MTA = "mx-out-1"
DOMAIN = "shop.example"
PORT = 8025
POOL = (Sink("a", "127.0.1.11"), Sink("b", "127.0.1.12"), Sink("c", "127.0.1.13"))
PARTNER = Sink("d", "127.0.1.14")
STATE = f"{WORKSPACE}/server"
AGENT_STATE = f"{WORKSPACE}/agent"
CA_FILE = f"{WORKSPACE}/partner-ca.pem"
_LIMIT_S = 30
_TOLD = 20
"""Lines of a log that are shown after an error."""
_PAUSE_S = 0.05


Answer = dict[str, Any]
"""The body of an answer; empty where there is none."""


@dataclass(slots=True)
class Site:
    """Everything that runs, inside one namespace."""

    namespace: Namespace
    smtpd: Smtpd
    relays: Relays
    flow: Flow
    server: Inside | None = None
    agent: Inside | None = None
    served_by: tuple[int, ...] = ()

    @classmethod
    def open(cls) -> Self:
        """Make the machine, with the table program, and a smtpd.conf that includes our rules."""
        namespace = Namespace.open()
        table_program.install(namespace)
        Dns.open(namespace, {})
        smtpd = Smtpd(namespace)
        smtpd.configure(
            Settings(
                (Listener(SMTP_PORT, addresses=("127.0.0.1",)),),
                declarations=(
                    f'ca partner cert "{CA_FILE}"',
                    # Of several sessions with a relay smtpd ends those that have nothing to do,
                    # and may then let its mail wait for 10 s: a single one stays.
                    "mta limit max-conn-per-relay 1",
                    "mta limit session-mail-max 100000",
                    # Without any pause smtpd tries a dead relay for ever.
                    "mta limit conn-delay-relay 1",
                ),
                include=f"{AGENT_STATE}/live/relaymap.conf",
            )
        )
        smtpd.write(CA_FILE, Authority.create("partner").pem())
        relays = Relays(namespace, *POOL, PARTNER)
        names = tuple(sink.name for sink in (*POOL, PARTNER))
        flow = Flow(Injector.open(namespace), relays, names, DOMAIN)
        return cls(namespace, smtpd, relays, flow)

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
        self.flow.cut()
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

    def same_smtpd(self) -> None:
        """Hold smtpd's processes against those that the first push has left.

        Raises:
            NotAsTold: they are others.
        """
        now = tuple(self.smtpd.pids())
        if now != self.served_by:
            raise NotAsTold(f"smtpd was {self.served_by} and is {now}")

    def agent_said(self, event: str, relay: str) -> int:
        """How often the agent has logged an event about a relay."""
        log = self.namespace.outside(f"{WORKSPACE}/agent.log").read_text("utf-8")
        lines = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
        return sum(line["event"] == event and line.get("relay") == relay for line in lines)

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
        """Show the end of each log, and what smtpd said of mail that it could not hand over."""
        for name in ("serve", "agent"):
            log = self.namespace.outside(f"{WORKSPACE}/{name}.log")
            if log.exists():
                lines = log.read_text("utf-8", "replace").splitlines()
                failed = [line for line in lines if "TempFail" in line or "warn: " in line]
                print(f"--- of the log of {name}", file=sys.stderr)
                print("\n".join([*failed[-_TOLD:], "…", *lines[-_TOLD:]]), file=sys.stderr)


def _must_run(process: Inside | None) -> None:
    if process is None or process.poll() is not None:
        raise NotAsTold("a process has ended")


def _facts(document: Answer) -> list[str]:
    """Answer what matters of a body, in a few words."""
    told = ("code", "outcome", "relay", "url")
    facts = [str(document[name]) for name in told if document.get(name)]
    for line in (document.get("push") or document).get("mtas") or ():
        if "reload" in line:
            why = f": {line['detail']}" if line.get("detail") else ""
            facts.append(f"{line['mta']} {line['state']}, reload {line['reload']}{why}")
    return facts
