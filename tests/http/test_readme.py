"""The chapters of the README that can be pasted: each line goes into a shell, and prints what it says."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.http.servers import ROOT, Server, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here"),
    pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash here"),
]

README = (ROOT / "README.md").read_text(encoding="utf-8")
DONE = "--pasted--"


@dataclass
class Pasted:
    line: str
    printed: str


def chapter(name: str) -> list[Pasted]:
    """The lines of a chapter that are pasted, each with what is said to be printed."""
    text = README.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    found: list[Pasted] = []
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("# "):
                found[-1].printed += line.removeprefix("# ") + "\n"
            elif line:
                found.append(Pasted(line, ""))
    return found


class Shell:
    """One bash that is typed into."""

    def __init__(self, server: Server) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=server.folder,
            env=environment(Path("/nowhere"), RELAYMAP_PORT=str(server.port)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def paste(self, line: str) -> str:
        """What a line prints."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{line}\necho {DONE}\n")
        self._bash.stdin.flush()
        printed = ""
        for each in self._bash.stdout:
            if each == f"{DONE}\n":
                return printed
            printed += each
        raise AssertionError(f"bash ended at: {line}")

    def close(self) -> None:
        self._bash.communicate(timeout=10)


@pytest.fixture
def shell(server: Server) -> Iterator[Shell]:
    opened = Shell(server)
    yield opened
    opened.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as running:
        yield running


def matches(printed: str, said: str) -> bool:
    """Line by line; what curl says on standard error may come before or after the body."""
    left = printed.splitlines()
    for line in said.splitlines():
        pattern = ".*".join(re.escape(part) for part in line.split("…"))
        found = next((each for each in left if re.fullmatch(pattern, each)), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def test_the_quick_start_has_lines() -> None:
    lines = chapter("Quick start")
    assert len(lines) >= 15
    assert sum(bool(each.printed) for each in lines) >= 12
    assert sum(bool(each.printed) for each in chapter("Big tables")) >= 4


def test_every_line_prints_what_it_says(server: Server, shell: Shell) -> None:
    """A checkout, as far as they need one: `make run` has made the virtual environment in it."""
    (server.folder / ".venv").symlink_to(sys.prefix)
    for each in chapter("Quick start") + chapter("Big tables"):
        printed = shell.paste(each.line.replace(":8025", f":{server.port}"))
        assert matches(printed, each.printed), f"{each.line}\nprinted:\n{printed}"
    assert server.token not in server.log


def test_the_calls_at_the_top_are_calls_of_the_api(server: Server, shell: Shell) -> None:
    """They leave out what the sentence below them names: a token, and an MTA with its agent."""
    said = README.partition("\n## ")[0].rpartition("```\n")[2]
    assert "a token" in said
    assert "its agent" in said
    token = '"Authorization: Bearer $(cat var/admin.token)"'
    shell.paste(f'API={server.base}/v1; curl() {{ command curl -sS -H {token} "$@"; }}')
    shell.paste("curl -X PUT --json '{}' $API/mtas/mx-out-1")
    (block,) = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[:1]
    answers = [shell.paste(line.replace("wait=30", "wait=0")) for line in block.splitlines()]
    assert '"name":"mxmap"' in answers[0]
    assert '"name":"org-out"' in answers[1]
    assert '"outcome":"relay"' in answers[2]
    assert "push-unfinished" in answers[3], "no agent is there"
