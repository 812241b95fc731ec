"""One real server process: over sockets, in the clear and with TLS, until a signal ends it."""

import http.client
import json
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.http.servers import Server, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


def test_a_server_told_to_end_lets_long_polls_go_and_exits_0(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        admin = {"Authorization": f"Bearer {server.token}"}
        with httpx.Client(base_url=server.base, headers=admin, timeout=30) as api:
            api.put("/v1/mtas/mx-out-1", json={}).raise_for_status()
            token = api.post("/v1/mtas/mx-out-1/token").json()["token"]
        poll = http.client.HTTPConnection("127.0.0.1", server.port, timeout=90)
        poll.request(
            "GET", "/v1/agent/wanted?wait=60", headers={"Authorization": f"Bearer {token}"}
        )
        # One loop serves all connections: by these answers it has read the request before them.
        for _ in range(2):
            assert httpx.get(f"{server.base}/readyz", timeout=30).status_code == 200
        assert server.stop() == 0
        assert poll.getresponse().status == 204
        poll.close()
        lines = [json.loads(line) for line in server.log.splitlines()]
        assert [line["event"] for line in lines] == ["first-token-written", "listening", "stopped"]
        assert token not in server.log


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    body = {"relays": [{"url": "smtp://mx1.example.net"}]}
    with Server(tmp_path) as server:
        admin = {"Authorization": f"Bearer {server.token}"}
        with httpx.Client(base_url=server.base, headers=admin, timeout=30) as api:
            tag = api.put("/v1/relay-maps/mxmap", json=body).headers["ETag"]
        server.stop()
        server.start()
        with httpx.Client(base_url=server.base, headers=admin, timeout=30) as api:
            assert api.get("/v1/relay-maps/mxmap").headers["ETag"] == tag
    assert server.log.count("first-token-written") == 1
    for path in server.state_dir.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_a_first_start_that_died_half_way_goes_on_with_its_own_token(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir(mode=0o700)
    text = "rly_" + "x" * 43
    path = tmp_path / "var/admin.token"
    path.touch(0o600)
    path.write_text(text + "\n")
    with (
        Server(tmp_path) as server,
        httpx.Client(base_url=server.base, headers={"Authorization": f"Bearer {text}"}) as api,
    ):
        assert api.get("/v1/whoami").status_code == 200


def command(server: Server, *arguments: str) -> None:
    """Run a command beside the server, on its database."""
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=server.folder,
        env=environment(server.state_dir),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_backup_that_is_put_back_under_a_running_server_is_followed(tmp_path: Path) -> None:
    body = {"relays": [{"url": "smtp://mx1.example.net"}]}
    with Server(tmp_path) as server:
        admin = {"Authorization": f"Bearer {server.token}"}
        with httpx.Client(base_url=server.base, headers=admin, timeout=30) as api:
            before = api.put("/v1/relay-maps/mxmap", json=body).headers["ETag"]
            command(server, "backup", str(tmp_path / "copy.db"))
            api.put("/v1/relay-maps/other", json=body).raise_for_status()
            command(server, "restore", str(tmp_path / "copy.db"))
            until = time.monotonic() + 60
            while api.get("/v1/relay-maps/other").status_code != 404:
                assert time.monotonic() < until, "the restored database is not followed"
                time.sleep(0.1)
            answer = api.get("/v1/relay-maps/mxmap")
            assert answer.headers["ETag"].partition("-")[0] == before.partition("-")[0]
            assert answer.headers["ETag"] != before, "the same revision of another history"
            made = api.put("/v1/relay-maps/third", json=body)
            assert (made.status_code, made.headers["Relay-Revision"]) == (201, "2")
            assert api.get("/v1/relay-maps/other").status_code == 404
        assert server.stop() == 0


def test_a_command_writes_beside_a_running_server(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        command(server, "token", "create", "--scopes", "all", "--name", "second")
        admin = {"Authorization": f"Bearer {server.token}"}
        with httpx.Client(base_url=server.base, headers=admin, timeout=30) as api:
            listed = [each["name"] for each in api.get("/v1/tokens").json()["items"]]
        assert sorted(listed) == ["admin", "second"]


def test_it_speaks_tls_itself(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    server = Server(
        tmp_path, RELAYMAP_TLS_CERT_FILE=str(cert), RELAYMAP_TLS_KEY_FILE=str(key), scheme="https"
    )
    with server:
        trusting = ssl.create_default_context(cafile=str(cert))
        link = http.client.HTTPSConnection("127.0.0.1", server.port, context=trusting, timeout=20)
        link.request("GET", "/livez")
        answer = link.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"status":"ok"}\n')
        link.close()
        assert server.stop() == 0
