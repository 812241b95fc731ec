"""Servers under measurement: Relaymap and a bare ASGI app, each in a process of its own.

Both run on the same uvicorn, loop and parser, and end with this process.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_START_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        token: what to send as bearer; "" where nothing is asked for.
    """

    process: subprocess.Popen[bytes]
    port: int
    token: str

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept open."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def call(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: object = None,
        kind: str = "application/json",
    ) -> dict[str, object]:
        """The JSON answer of one call.

        Raises:
            RuntimeError: the answer is not a success.
        """
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, headers)
        answer = connection.getresponse()
        raw = answer.read()
        if not 200 <= answer.status < 300:
            raise RuntimeError(f"{method} {path}: {answer.status}")
        found: dict[str, object] = json.loads(raw) if raw else {}
        return found

    def cpu_s(self) -> float:
        """Processor time that the server has used, in seconds."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text("ascii").split()[0]) for thread in threads) / 1e9


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def apart(*servers: Server) -> Iterator[None]:
    """Servers on the first core and whoever asks them on the last: nobody is moved while he works.

    A server whose threads were started keeps to its core until it ends.
    """
    cores = sorted(os.sched_getaffinity(0))
    for server in servers:
        for thread in Path(f"/proc/{server.process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores[:1])
    os.sched_setaffinity(0, cores[-1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def relaymap(state_dir: Path) -> Iterator[Server]:
    """Relaymap on an empty database in `state_dir`."""
    port = free_port()
    settings = {
        "RELAYMAP_STATE_DIR": str(state_dir),
        "RELAYMAP_PORT": str(port),
        "RELAYMAP_LOG_LEVEL": "warning",
    }
    with running([sys.executable, "-m", "app", "serve"], settings, port) as process:
        token = (state_dir / "admin.token").read_text().strip()
        yield Server(process, port, token)


@contextmanager
def bare(answer: bytes = b"{}") -> Iterator[Server]:
    """A bare ASGI app that parses what it is sent and answers a constant."""
    port = free_port()
    settings = {"BENCH_ANSWER": answer.decode("utf-8")}
    with running([*_UVICORN, str(port), "bench.bare:app"], settings, port) as process:
        yield Server(process, port, "")


@contextmanager
def idiomatic(state_dir: Path) -> Iterator[Server]:
    """The endpoint that a tutorial would make, on the database in `state_dir`."""
    port = free_port()
    settings = {"RELAYMAP_STATE_DIR": str(state_dir)}
    with running([*_UVICORN, str(port), "bench.idiomatic:app"], settings, port) as process:
        yield Server(process, port, (state_dir / "admin.token").read_text().strip())


_UVICORN = (
    *(sys.executable, "-m", "uvicorn", "--log-level", "warning", "--no-access-log"),
    *("--loop", "uvloop", "--http", "httptools", "--port"),
)


@contextmanager
def running(
    command: list[str], settings: Mapping[str, str], port: int
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers on a port, until it is left."""
    process = subprocess.Popen(command, env=os.environ | settings)
    try:
        _wait_until_ready(process, port)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    """Relaymap binds its socket before it opens its database: only an answer says ready."""
    deadline = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError("the server ended before it answered")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_LIMIT_S)
        with suppress(ConnectionError, TimeoutError), closing(connection):
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.client.OK:
                return
        time.sleep(0.05)
    raise RuntimeError("the server did not answer in time")
