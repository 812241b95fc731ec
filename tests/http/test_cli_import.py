"""`relaymap import` and `relaymap export`: what they send, print and exit with."""

import http.client
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.servers import ROOT, Server, environment
from tests.http.test_kill import get

ROWS = "# ours\na.example mx\nb.example smtp://mx1.example.net\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as running:
        send(running, "PUT", "/v1/tables/by-domain", {"key": "recipient-domain"})
        yield running


def send(server: Server, method: str, path: str, body: object) -> None:
    link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    link.request(method, path, json.dumps(body), headers)
    assert link.getresponse().status in {200, 201}
    link.close()


def run(server: Server, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env=environment(server.state_dir, RELAYMAP_SERVER=server.base),
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_file_is_imported_and_exported(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "rows.txt"
    file.write_text(ROWS)
    code, out, err = run(server, "import", str(file), "--table", "by-domain")
    assert (code, err) == (0, "")
    assert out.endswith("3 lines, 2 created, 0 changed, 0 unchanged, 0 deleted, 0 skipped\n")
    code, out, _ = run(server, "export", "by-domain", "--format", "csv")
    assert (code, out) == (
        0,
        "key,via\na.example,mx\nb.example,smtp://mx1.example.net\n".replace("\n", "\r\n"),
    )
    code, out, _ = run(
        server,
        "import",
        "-",
        "--table",
        "by-domain",
        "--format",
        "csv",
        "--mode=replace",
        stdin=out.encode(),
    )
    assert (code, "2 unchanged" in out) == (0, True)


def test_a_dry_run_stores_nothing(server: Server) -> None:
    before = get(server, "/v1/revisions?limit=1")
    arguments = ("import", "-", "--table=by-domain", "--format=text", "--dry-run")
    code, out, _ = run(server, *arguments, stdin=b"new.example mx\n")
    assert (code, "1 created" in out) == (0, True)
    assert get(server, "/v1/revisions?limit=1") == before


def test_bad_lines_are_named_and_exit_65(server: Server) -> None:
    arguments = ("import", "-", "--table=by-domain", "--format=text")
    rows = b"c.example mx\n" + b"canary..example mx\n" * 30
    code, out, err = run(server, *arguments, stdin=rows)
    assert (code, out) == (65, "")
    assert err.startswith("line 2: this is no key")
    assert "and 10 more\n" in err
    assert "30 lines cannot be taken" in err
    assert "canary" not in err
    code, out, err = run(server, *arguments, "--on-error=skip", stdin=rows)
    assert (code, "1 created" in out, "30 skipped" in out) == (0, True, True)
    assert "and 10 more\n" in err


def test_too_many_deletes_exit_65(server: Server) -> None:
    arguments = ("import", "-", "--table=by-domain", "--format=text", "--mode=replace")
    code, _, err = run(server, *arguments, "--max-deletes=0", stdin=b"other.example mx\n")
    assert (code, "would be deleted" in err) == (65, True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("import", "-", "--table=none", "--format=text"), 66),
        (("import", "no-such-file.csv", "--table=by-domain"), 66),
        (("import", "no-suffix", "--table=by-domain"), 65),
        (("import", "x.csv"), 64),
        (("import", "-", "--table=by-domain", "--format=text", "--server=http://127.0.0.1:9"), 69),
        (("import", "-", "--table=by-domain", "--format=text", "--server=nonsense"), 69),
        (("export", "none"), 66),
    ],
)
def test_what_cannot_be_done_says_so(server: Server, arguments: tuple[str, ...], code: int) -> None:
    found, out, err = run(server, *arguments, stdin=b"a.example mx\n")
    assert (found, out) == (code, "")
    assert "fault of ours" not in err


def test_without_a_token_it_is_said_where_one_is_looked_for(server: Server, tmp_path: Path) -> None:
    missing = tmp_path / "admin.token"
    code, out, err = run(server, "export", "by-domain", f"--token-file={missing}")
    assert (code, out) == (66, "")
    assert err.startswith(f"relaymap: {missing}: ")
    assert "--token-file" in err
    assert "RELAYMAP_STATE_DIR" in err


def test_a_terminal_sees_how_far_it_is(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "rows.txt"
    file.write_text("".join(f"t{number}.example mx\n" for number in range(10_000)))
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "app", "import", str(file), "--table", "by-domain"],
        env=environment(server.state_dir, RELAYMAP_SERVER=server.base),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=follower,
    ) as process:
        out, _ = process.communicate(timeout=50)
    os.close(follower)
    seen = os.read(leader, 1 << 16).decode()
    os.close(leader)
    assert (process.returncode, b"10,000 created" in out) == (0, True)
    assert "100%" in seen
    assert "#" * 30 in seen


def test_neither_loads_the_web_framework() -> None:
    script = (
        "import sys, app.cli, app.command_import;"
        "print(sorted({'fastapi', 'pydantic', 'httpx', 'sqlalchemy'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True, timeout=50
    )
    assert done.stdout == b"[]\n"
