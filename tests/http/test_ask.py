"""A plain question on the command line: what it prints, and how little it loads for that."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app import ask, cli
from tests.http.servers import ROOT, Server, environment

LOADED = """
import sys
from app.__main__ import main
before = set(sys.modules)
code = main()
ours = sorted(name for name in sys.modules if name.startswith("app"))
heavy = {"argparse", "json", "dataclasses", "ssl", "http", "urllib", "asyncio"} - before
print(ours, sorted(heavy & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""
WRITES = (
    ("rules/no", {"match": {"senders": ["no.example"]}, "action": {"kind": "reject"}}),
    ("rules/to", {"action": {"kind": "relay", "via": "smtp+notls://mx1.example.net:26"}}),
    ("rules/mx", {"match": {"tags": ["mx"]}, "action": {"kind": "relay", "via": "mx"}}),
)
FIRST = {"no": 1, "mx": 2, "to": 3}


@pytest.fixture(scope="module")
def asked(server: Server) -> Server:
    """A server with a few rules."""
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=server.base, headers=headers) as api:
        for path, body in WRITES:
            name = path.partition("/")[2]
            answer = api.put(f"/v1/{path}", json={"priority": FIRST[name], **body})
            assert answer.is_success, answer.text
    return server


def arguments(server: Server, *more: str) -> list[str]:
    return [*more, "--server", server.base, f"--token-file={server.state_dir / 'admin.token'}"]


PLAIN = [
    (("joe@example.net",), "relay smtp+notls://mx1.example.net:26\n"),
    (("joe@example.net", "--sender", "a@no.example"), "reject the rule no rejects it\n"),
    (("joe@example.net", "--sender=", "--draw", "0"), "relay smtp+notls://mx1.example.net:26\n"),
    (("nobody",), None),
    (("--client", "192.0.2.1", "joe@example.net", "--helo=a.example"), None),
]
NOT_PLAIN = [
    ("joe@example.net", "--json"),
    ("joe@example.net", "--explain"),
    ("joe@example.net", "--send", "a@b.example"),
    ("joe@example.net", "--sender", "-x@b.example"),
    ("joe@example.net", "--sender", 'q"x@b.example'),
    ("joe@example.net", "--sender", "\u00e9@b.example"),
    ("joe@example.net", "--draw", "+1"),
    ("joe@example.net", "--client", "nobody"),
    ("joe@example.net", "--mta", "nobody"),
    ("joe@[192.0.2.1]", "--tag", "mx"),
    ("a@b.example", "c@d.example"),
    ("--help",),
    (),
]


@pytest.mark.parametrize(("given", "line"), PLAIN)
def test_it_prints_what_the_whole_command_line_prints(
    asked: Server, capsys: pytest.CaptureFixture[str], given: tuple[str, ...], line: str | None
) -> None:
    assert ask.main(arguments(asked, *given), {}) == 0
    said = capsys.readouterr().out
    assert cli.main(["resolve", *arguments(asked, *given)]) == 0
    assert capsys.readouterr().out == said
    assert line is None or said == line


@pytest.mark.parametrize("given", NOT_PLAIN, ids=str)
def test_what_is_not_plain_is_left_to_the_whole_command_line(
    asked: Server, capsys: pytest.CaptureFixture[str], given: tuple[str, ...]
) -> None:
    assert ask.main(arguments(asked, *given), {}) is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "url",
    ["", "https://127.0.0.1", "http://[::1]:1", "http://a@b", "http://a/b", "http://127.0.0.1:x"],
)
def test_other_servers_are_left_to_it(asked: Server, url: str) -> None:
    token = f"--token-file={asked.state_dir / 'admin.token'}"
    assert ask.main(["a@b.example", token], {"RELAYMAP_SERVER": url}) is None


@pytest.mark.parametrize("held", [b"", b"rly_x", b"\xff", b"rly_" + b"x" * 43 + b"\nx"])
def test_a_file_that_holds_no_token_is_left_to_it(
    asked: Server, tmp_path: Path, held: bytes
) -> None:
    file = tmp_path / "token"
    file.write_bytes(held)
    given = ["a@b.example", "--server", asked.base, "--token-file", str(file)]
    assert ask.main(given, {}) is None


def test_who_is_not_there_and_who_is_no_relaymap_is_left_to_it(asked: Server) -> None:
    token = f"--token-file={asked.state_dir / 'admin.token'}"
    assert ask.main(["a@b.example", "--server", "http://127.0.0.1:1", token], {}) is None
    for said in (b"", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}\n", b"220 mx\r\n"):
        assert ask._line(said) is None


def run(server: Server, tmp_path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-c", LOADED, "resolve", "joe@example.net", *more],
        cwd=ROOT,
        env=environment(server.state_dir, RELAYMAP_SERVER=server.base),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_loads_next_to_nothing(asked: Server, tmp_path: Path) -> None:
    done = run(asked, tmp_path)
    assert (done.returncode, done.stdout) == (0, "relay smtp+notls://mx1.example.net:26\n")
    assert done.stderr == "['app', 'app.__main__', 'app.ask'] []\n"
