"""A real server and real agents as processes inside a namespace, as an operator starts them."""

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.mta.agents.machine import STATE_DIR
from tests.mta.bed.channel import Channel
from tests.mta.bed.namespace import Inside, Namespace
from tests.mta.bed.smtpd import CONF

SERVER_DIR = "/run/server"
SERVER_LOG = "/run/bed/server.log"
AGENT_LOG = "/run/bed/agent.log"
PORT = 26825
MTA = "mx-out-1"
_ROOT = str(Path(__file__).parents[3])
_LIMIT_S = 60
_PAUSE_S = 0.02


class NotYet(Exception):
    """What was waited for did not come."""


@dataclass(slots=True)
class Fleet:
    """One server, and one agent beside the smtpd of the namespace."""

    namespace: Namespace
    http: Channel
    server: Inside | None = None
    agent: Inside | None = None

    @classmethod
    def open(cls, namespace: Namespace) -> Self:
        """Start nothing yet."""
        script = Path(__file__).with_name("http_inside.py")
        return cls(namespace, Channel.open(namespace, script))

    # --- processes

    def start_server(self) -> None:
        """Start the server and wait until it answers."""
        environment = {"RELAYMAP_STATE_DIR": SERVER_DIR, "RELAYMAP_PORT": str(PORT)}
        self.server = self._start(("-m", "app", "serve"), environment, SERVER_LOG)
        self.until(lambda: self.call("GET", "/readyz")[0] == 200)

    def start_agent(self, *program: str, **more: str) -> None:
        """Start the agent; it runs smtpd as its child.

        `program` is what Python runs instead of `-m app agent`.
        """
        environment = {
            "RELAYMAP_AGENT_SERVER": f"http://127.0.0.1:{PORT}",
            "RELAYMAP_AGENT_MTA": MTA,
            "RELAYMAP_AGENT_STATE_DIR": STATE_DIR,
            "RELAYMAP_AGENT_SMTPD_CONF": CONF,
            "RELAYMAP_AGENT_CONTROL": "supervise",
            **more,
        }
        self.agent = self._start(program or ("-m", "app", "agent"), environment, AGENT_LOG)

    def _start(self, program: Sequence[str], environment: dict[str, str], log: str) -> Inside:
        with self.namespace.outside(log).open("ab") as target:
            return self.namespace.popen(
                [sys.executable, *program],
                stdout=target,
                stderr=target,
                environment=environment,
                directory=_ROOT,
            )

    def stop(self, inside: Inside | None, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal a process and answer how it ended."""
        assert inside is not None
        inside.send(number)
        return inside.wait()

    def log(self, path: str = AGENT_LOG) -> str:
        """What a process has written so far."""
        found = self.namespace.outside(path)
        return found.read_text("utf-8") if found.exists() else ""

    def command(self, *words: str) -> str:
        """Run a command on the server's database; its output."""
        return self.namespace.run(
            [sys.executable, "-m", "app", *words],
            environment={"RELAYMAP_STATE_DIR": SERVER_DIR},
            directory=_ROOT,
        ).stdout

    # --- the API

    def token(self) -> str:
        """The first token, which may everything; empty before the server made it."""
        path = self.namespace.outside(f"{SERVER_DIR}/admin.token")
        return path.read_text().strip() if path.exists() else ""

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One request; its status, and its body."""
        answer = self.http.call(
            "request", port=PORT, method=method, path=path, token=self.token(), body=body
        )
        text = answer["text"]
        return answer["status"], json.loads(text) if text[:1] in {"{", "["} else text

    def good(self, method: str, path: str, body: object = None) -> Any:
        """One request that must succeed; its body."""
        status, answer = self.call(method, path, body)
        assert 200 <= status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def enroll(self) -> None:
        """Make the MTA and put its agent's token where the agent looks for it."""
        self.good("PUT", f"/v1/mtas/{MTA}", {"driver": "opensmtpd"})
        made = self.good("POST", f"/v1/mtas/{MTA}/token")
        directory = self.namespace.outside(STATE_DIR)
        directory.mkdir(mode=0o711, exist_ok=True)
        path = directory / "agent.token"
        path.write_text(made["token"] + "\n")
        path.chmod(0o600)

    def route_to(self, url: str, domain: str = "x.test") -> None:
        """Let mail for a domain go there, once it is pushed."""
        body = {
            "match": {"clients": ["any"], "recipients": [domain]},
            "action": {"kind": "relay", "via": url},
        }
        self.good("PUT", "/v1/rules/out", body)

    def serve(self, url: str) -> None:
        """Push until it is served that mail goes there."""
        self.route_to(url)
        push = self.push()
        assert push["state"] == "applied", push

    def state(self) -> str:
        """How the MTA stands, as the server says."""
        found: str = self.good("GET", f"/v1/mtas/{MTA}/status")["state"]
        return found

    def push(self) -> dict[str, Any]:
        """Push the head and wait for the end; the push."""
        status, answer = self.call("POST", "/v1/pushes?wait=30", {})
        push: dict[str, Any] = answer if status == 200 else answer.get("push", answer)
        return push

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait for a state. Raises NotYet."""
        limit = time.monotonic() + _LIMIT_S
        while not reached():
            if time.monotonic() > limit:
                raise NotYet(self.log(SERVER_LOG)[-2000:] + self.log()[-2000:])
            time.sleep(_PAUSE_S)
