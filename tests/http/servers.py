"""A server in a process of its own, on loopback, as operators start it."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 50


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(state_dir: Path, **settings: str) -> dict[str, str]:
    """The environment of a process of ours that knows nothing of the tests'."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RELAYMAP_")}
    return kept | {"PYTHONPATH": str(ROOT), "RELAYMAP_STATE_DIR": str(state_dir), **settings}


class Server:
    """`python -m app serve`, answering when it is entered, gone when it is left."""

    def __init__(self, folder: Path, *program: str, scheme: str = "http", **settings: str) -> None:
        """Prepare it; `program` is what Python runs instead of `-m app serve`."""
        self.folder = folder
        self._scheme = scheme
        self.port = free_port()
        self._program = program or ("-m", "app", "serve")
        self.state_dir = folder / "var"
        self._settings = {"RELAYMAP_PORT": str(self.port), **settings}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return (self.state_dir / "admin.token").read_text().strip()

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._program],
                cwd=self.folder,
                env=environment(self.state_dir, **self._settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _PATIENCE_S
        while not self._answers():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < until, self.log
            time.sleep(0.05)

    def _answers(self) -> bool:
        trusting = ssl._create_unverified_context()  # whoever it is, it answers
        url = f"{self.base}/livez"
        try:
            with urllib.request.urlopen(url, timeout=_PATIENCE_S, context=trusting) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    def kill(self) -> None:
        """As a power cut of the process: SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As systemd does; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(_PATIENCE_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
