"""The command line: what each command prints, does and exits with."""

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app import cli
from app.cli import main
from tests.http.servers import ROOT, Server, environment, free_port

CANARY = "canary-in-the-wrong-place"
TOKEN = "rly_" + "x" * 43

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Commands set the log and the umask of their process, which here is the test run's."""
    root, umask = logging.getLogger(), os.umask(0o022)
    handlers, level = root.handlers[:], root.level
    yield
    os.umask(umask)
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("RELAYMAP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RELAYMAP_STATE_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("RELAYMAP_PORT", str(free_port()))
    return tmp_path / "var"


@pytest.fixture
def run(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


@pytest.mark.parametrize(
    "arguments",
    [(), ("no-such",), ("serve", "extra"), ("token",), ("token", "create"), ("backup",)],
)
def test_a_command_that_is_none_exits_64(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (64, "")
    assert "usage" in err


def test_help_and_version_are_printed(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    commands = {"serve", "agent", "resolve", "token", "check", "backup", "restore", "openapi"}
    assert all(command in out for command in commands)
    assert run("--version")[:2] == (0, "relaymap 0.1.0\n")


@pytest.mark.parametrize("command", ["serve", "check", "agent"])
def test_bad_settings_exit_78_and_name_the_variable_but_no_value(
    run: Run, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = "RELAYMAP_AGENT_CONTROL" if command == "agent" else "RELAYMAP_HOST"
    monkeypatch.setenv(variable, CANARY)
    code, out, err = run(command)
    assert (code, out) == (78, "")
    assert variable in err
    assert CANARY not in err


def test_serve_refuses_a_port_that_is_taken(
    run: Run, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("RELAYMAP_PORT", str(taken.getsockname()[1]))
        code, _, err = run("serve")
    assert code == 78
    assert "RELAYMAP_PORT" in err
    assert not (state_dir / "relaymap.db").exists(), "nothing was opened"


def test_another_address_is_served_behind_a_proxy_only_when_told(
    run: Run, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAYMAP_HOST", "0.0.0.0")
    for command in ("serve", "check"):
        code, _, err = run(command)
        assert code == 78
        assert "RELAYMAP_BEHIND_PROXY=1" in err
    assert run("check", "--behind-proxy")[0] == 0
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        monkeypatch.setenv("RELAYMAP_PORT", str(taken.getsockname()[1]))
        code, _, err = run("serve", "--behind-proxy")
    assert code == 78
    assert "cannot listen there" in err, "the address is not what it refuses"
    assert run("agent", "--behind-proxy")[0] == 64
    assert not (state_dir / "relaymap.db").exists()


def test_a_state_directory_that_others_write_in_is_refused(run: Run, state_dir: Path) -> None:
    state_dir.mkdir()
    state_dir.chmod(0o777)
    code, _, err = run("token", "list")
    assert code == 78
    assert "chmod 700" in err


def test_tokens_are_made_listed_and_revoked_on_the_database(run: Run) -> None:
    code, text, err = run("token", "create", "--scopes", "tokens:admin,routing:read")
    assert (code, err) == (0, "")
    assert text.startswith("rly_")
    code, listed, _ = run("token", "list")
    assert text.strip() not in listed
    number = listed.split()[0]
    assert "routing:read,tokens:admin" in listed
    code, _, err = run("token", "revoke", number)
    assert code == 73
    assert "last token" in err
    run("token", "create", "--scopes", "all", "--name", "second")
    assert run("token", "revoke", number)[0] == 0
    assert run("token", "revoke", number)[0] == 66


@pytest.mark.parametrize("scopes", [CANARY, "", "resolve,,push", "All"])
def test_scopes_that_are_none_exit_65(run: Run, scopes: str) -> None:
    code, _, err = run("token", "create", "--scopes", scopes)
    assert code == 65
    assert CANARY not in err
    assert "routing:read" in err


def test_check_looks_and_changes_nothing(run: Run, state_dir: Path) -> None:
    code, out, _ = run("check")
    assert code == 0
    assert "there is no database yet" in out
    assert not state_dir.exists()
    run("token", "create", "--scopes", "all")
    before = {path.name: path.stat().st_mtime_ns for path in state_dir.iterdir()}
    assert run("check") == (0, "nothing is wrong\n", "")
    after = {path.name: path.stat().st_mtime_ns for path in state_dir.iterdir()}
    assert {k: v for k, v in after.items() if k in {"relaymap.db", "sealing.key"}} == {
        k: v for k, v in before.items() if k in {"relaymap.db", "sealing.key"}
    }


def test_check_and_serve_tell_of_a_key_that_is_missing_wrong_or_open(
    run: Run, state_dir: Path
) -> None:
    run("token", "create", "--scopes", "all")
    key = state_dir / "sealing.key"
    good = key.read_bytes()
    for mode, content in ((0o644, good), (0o600, b"x" * 32), (0o600, b""), (0o600, None)):
        if content is None:
            key.unlink()
        else:
            key.write_bytes(content)
            key.chmod(mode)
        for command in ("check", "serve"):
            code, _, err = run(command)
            assert code == 78
            assert "key" in err
    assert not key.exists(), "no new key is made in silence"


def test_check_tells_of_everything_at_once(
    run: Run, state_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run("token", "create", "--scopes", "all")
    (state_dir / "sealing.key").unlink()
    monkeypatch.setenv("RELAYMAP_TLS_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("RELAYMAP_TLS_KEY_FILE", str(tmp_path / "none.key"))
    code, _, err = run("check")
    assert code == 78
    assert len(err.splitlines()) == 2


def test_a_backup_is_private_and_is_put_back(run: Run, state_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    run("token", "create", "--scopes", "all", "--name", "before")
    assert run("backup", str(copy))[0] == 0
    assert copy.stat().st_mode & 0o777 == 0o600
    assert run("backup", str(copy))[0] == 73
    run("token", "create", "--scopes", "all", "--name", "after")
    assert run("restore", str(copy))[0] == 0
    listed = run("token", "list")[1]
    assert "before" in listed
    assert "after" not in listed
    assert run("restore", str(tmp_path / "none.db"))[0] == 66
    (tmp_path / "torn.db").write_bytes(copy.read_bytes()[:5000])
    assert run("restore", str(tmp_path / "torn.db"))[0] == 74
    assert "before" in run("token", "list")[1], "a torn backup changes nothing"


def test_nothing_is_made_only_to_say_that_nothing_is_there(run: Run, state_dir: Path) -> None:
    for command in (("resolve", "joe@example.org"), ("token", "list"), ("backup", "copy.db")):
        code, _, err = run(*command)
        assert code == 66
        assert "there is no database" in err
    assert not any(state_dir.glob("*.db"))


def test_resolve_answers_from_the_database(run: Run) -> None:
    run("token", "create", "--scopes", "all")
    assert run("resolve", "joe@example.org") == (0, "unrouted no rule takes it\n", "")
    code, out, _ = run("resolve", "joe@example.org", "--json", "--explain")
    assert (code, json.loads(out)["trace"]) == (0, [])
    code, _, err = run("resolve", "joe@example.org", "--client", CANARY)
    assert code == 65
    assert CANARY not in err
    assert run("resolve", "joe@example.org", "--mta", "nobody")[0] == 66


def test_resolve_over_http_needs_a_server_that_answers(run: Run, state_dir: Path) -> None:
    state_dir.mkdir()
    (state_dir / "admin.token").write_text(f"{TOKEN}\n")
    odd = ("gopher://x", "localhost", "http://[::1", "http://a..b", f"http://{'a' * 64}.test")
    for server in (f"http://127.0.0.1:{free_port()}", *odd):
        code, _, err = run("resolve", "joe@example.org", "--server", server)
        assert code == 69
        assert err
    (state_dir / "admin.token").unlink()
    assert run("resolve", "joe@example.org", "--server", "http://127.0.0.1:1")[0] == 66


LIGHT = """
import sys
from app.cli import main
code = main(sys.argv[1:])
heavy = {"fastapi", "pydantic", "httpx", "sqlalchemy", "uvicorn", "alembic"} & sys.modules.keys()
print(sorted(heavy), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_resolve_over_http_asks_the_server_and_loads_little(tmp_path: Path) -> None:
    with Server(tmp_path) as server:

        def ask(*more: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
            path = tmp_path / "token"
            path.write_text(token or server.token)
            arguments = ["resolve", "joe@example.org", "--server", server.base]
            return subprocess.run(
                [sys.executable, "-c", LIGHT, *arguments, "--token-file", path, *more],
                cwd=ROOT,
                env=environment(tmp_path / "elsewhere"),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        answer = ask()
        assert (answer.returncode, answer.stdout) == (0, "unrouted no rule takes it\n")
        assert answer.stderr == "[]\n"
        refused = ask("--client", CANARY)
        assert refused.returncode == 65
        assert CANARY not in refused.stderr
        assert ask(token="rly_" + "x" * 43).returncode == 77
        assert server.stop() == 0


@pytest.mark.parametrize("held", [f"{TOKEN}\n{CANARY}", CANARY, "", "\xff", f"{TOKEN}{CANARY}"])
def test_a_file_that_holds_no_token_is_refused_and_not_quoted(
    run: Run, tmp_path: Path, held: str
) -> None:
    file = tmp_path / "token"
    file.write_bytes(held.encode("latin-1"))
    arguments = ("--server", "http://127.0.0.1:1", "--token-file", str(file))
    code, out, err = run("resolve", "joe@example.org", *arguments)
    assert (code, out) == (65, "")
    assert "does not hold a token" in err
    assert CANARY not in err
    assert TOKEN not in err


@pytest.mark.parametrize(
    "said",
    [b"{}", b"[]", b"odd", b'{"outcome": "x", "mx": "y"}', b'{"outcome": "x", "trace": [1]}'],
)
def test_what_is_no_answer_is_none(run: Run, state_dir: Path, said: bytes) -> None:
    state_dir.mkdir()
    (state_dir / "admin.token").write_text(TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as beside:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(said)}\r\n\r\n"
                connection.sendall(head.encode() + said)

        beside.submit(answer)
        server = f"http://127.0.0.1:{listening.getsockname()[1]}"
        code, out, err = run("resolve", "joe@example.org", "--server", server)
    assert (code, out) == (69, "")
    assert "no Relaymap server" in err


def test_a_fault_of_ours_is_said_in_one_line_and_exits_70(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(_: object) -> int:
        raise KeyError(CANARY)

    monkeypatch.setattr(cli, "_check", break_down)
    code, out, err = run("check")
    assert (code, out, err.count("\n")) == (70, "", 1)
    assert "KeyError" in err
    assert CANARY not in err
