"""Talk with one of our scripts inside a namespace: a JSON line to it, a JSON line back."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

from tests.mta.bed.namespace import Inside, Namespace

_LIMIT_S = 60


class ScriptFailed(Exception):
    """The script inside answered with an error, ended, or did not answer in time."""


@dataclass(slots=True)
class Channel:
    """One running script; a thread reads what it says.

    A line from the script is an answer, `{"id": …, "answer": …}` or `{"id": …, "error": …}`, or
    any other object, which goes to `heard`. The script ends when its input does.
    """

    inside: Inside
    heard: Callable[[dict[str, Any]], None]
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _answers: dict[int, dict[str, Any]] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=count)
    _ended: bool = False
    _reader: threading.Thread | None = None

    @classmethod
    def open(
        cls,
        namespace: Namespace,
        script: Path,
        heard: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> Self:
        """Start a script of ours inside; its errors go to our standard error."""
        argv = [sys.executable, "-I", str(script)]
        pipe = subprocess.PIPE
        channel = cls(namespace.popen(argv, stdin=pipe, stdout=pipe), heard)
        channel._reader = threading.Thread(target=channel._read, name=script.stem, daemon=True)
        channel._reader.start()
        return channel

    def call(self, verb: str, *, limit_s: float = _LIMIT_S, **arguments: object) -> Any:
        """Ask the script to do one thing and answer what it answers.

        Raises:
            ScriptFailed: with the script's own words, or because it is silent.
        """
        number = next(self._ids)
        line = json.dumps({"id": number, "verb": verb, **arguments})
        self.inside.stdin.write(line.encode() + b"\n")
        self.inside.stdin.flush()
        with self._changed:
            self._changed.wait_for(lambda: self._ended or number in self._answers, limit_s)
            found = self._answers.pop(number, {"error": "no answer"})
        if "error" in found:
            raise ScriptFailed(f"{verb}: {found['error']}")
        return found["answer"]

    def close(self) -> None:
        """End the script and wait for it."""
        self.inside.stdin.close()
        self.inside.wait()
        if self._reader is not None:
            self._reader.join()
        self.inside.stdout.close()

    def _read(self) -> None:
        for line in self.inside.stdout:
            said = json.loads(line)
            if "id" not in said:
                self.heard(said)
                continue
            with self._changed:
                self._answers[said["id"]] = said
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
