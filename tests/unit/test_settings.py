"""The settings: what each process takes, and what it says when it cannot start."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from app.settings import (
    AgentSettings,
    BadSettings,
    Control,
    LogForm,
    LogLevel,
    ServerSettings,
    load,
)

SECRET = "hunter2-in-the-wrong-place"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RELAYMAP_STATE_DIR", "RELAYMAP_REQUIRE_ALL", "RELAYMAP_SERVER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("RELAYMAP_AGENT_MTA", "mx-out-1")  # asking for the host's name is I/O


def refused(monkeypatch: pytest.MonkeyPatch, **variables: str) -> tuple[str, ...]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    agent = any(name.startswith("RELAYMAP_AGENT_") for name in variables)
    with pytest.raises(BadSettings) as caught:
        load(AgentSettings if agent else ServerSettings)
    return caught.value.faults


def test_the_server_listens_on_loopback_with_its_state_in_var_lib() -> None:
    settings = load(ServerSettings)
    assert (settings.host, settings.port) == ("127.0.0.1", 8025)
    assert settings.store_url == "/var/lib/relaymap/relaymap.db"
    assert settings.key_path == Path("/var/lib/relaymap/sealing.key")
    assert settings.token_path == Path("/var/lib/relaymap/admin.token")
    assert settings.allowed_hosts == ("localhost", "127.0.0.1", "[::1]")
    assert (settings.log, settings.log_level) == (None, LogLevel.INFO)
    assert not settings.require_if_match
    assert settings.metrics_token


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAYMAP_ALLOWED_HOSTS", "relaymap.example, 192.0.2.1")
    monkeypatch.setenv("RELAYMAP_DNS_SERVERS", "127.0.0.1:5353,192.0.2.53,[::1]:54,2001:db8::1")
    settings = load(ServerSettings)
    assert settings.allowed_hosts == ("relaymap.example", "192.0.2.1")
    assert settings.dns_servers == (
        ("127.0.0.1", 5353),
        ("192.0.2.53", 53),
        ("::1", 54),
        ("2001:db8::1", 53),
    )
    monkeypatch.setenv("RELAYMAP_AGENT_PROBE_NOT", "192.0.2.0/24, 2001:db8::1")
    assert load(AgentSettings).probe_not == (
        ip_network("192.0.2.0/24"),
        ip_network("2001:db8::1/128"),
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "relaymap.example"])
def test_an_address_that_others_reach_is_refused_without_tls(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fault,) = refused(monkeypatch, RELAYMAP_HOST=host)
    assert fault.startswith("RELAYMAP_HOST: ")
    assert "RELAYMAP_TLS_CERT_FILE" in fault
    assert "RELAYMAP_BEHIND_PROXY=1" in fault


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_tls(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAYMAP_HOST", host)
    assert load(ServerSettings).host == host


def test_a_proxy_or_a_certificate_opens_other_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAYMAP_HOST", "0.0.0.0")
    monkeypatch.setenv("RELAYMAP_BEHIND_PROXY", "1")
    assert load(ServerSettings).behind_proxy
    monkeypatch.delenv("RELAYMAP_BEHIND_PROXY")
    monkeypatch.setenv("RELAYMAP_TLS_CERT_FILE", "/etc/ssl/relaymap.pem")
    monkeypatch.setenv("RELAYMAP_TLS_KEY_FILE", "/etc/ssl/relaymap.key")
    assert load(ServerSettings).tls_cert_file == Path("/etc/ssl/relaymap.pem")


def test_a_certificate_without_its_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    (fault,) = refused(monkeypatch, RELAYMAP_TLS_CERT_FILE="/etc/ssl/relaymap.pem")
    assert "RELAYMAP_TLS_KEY_FILE" in fault


@pytest.mark.parametrize(
    "variable",
    [
        "RELAYMAP_PORT",
        "RELAYMAP_LOG",
        "RELAYMAP_LOG_LEVEL",
        "RELAYMAP_BEHIND_PROXY",
        "RELAYMAP_DATABASE_URL",
        "RELAYMAP_DNS_SERVERS",
        "RELAYMAP_KEEP_DAYS",
        "RELAYMAP_AGENT_SERVER",
        "RELAYMAP_AGENT_CONTROL",
        "RELAYMAP_AGENT_UNIT",
        "RELAYMAP_AGENT_APPLY_LIMIT_S",
        "RELAYMAP_AGENT_PROBE_NOT",
        "RELAYMAP_AGENT_PROBE_AUTH",
    ],
)
def test_a_fault_names_the_variable_and_never_its_value(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fault,) = refused(monkeypatch, **{variable: SECRET})
    assert fault.startswith(f"{variable}: ")
    assert SECRET not in fault
    assert len(fault) > len(variable) + 10


def test_every_fault_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = refused(monkeypatch, RELAYMAP_PORT="0", RELAYMAP_LOG="xml")
    assert [fault.partition(":")[0] for fault in faults] == ["RELAYMAP_PORT", "RELAYMAP_LOG"]


@pytest.mark.parametrize(
    "url", ["postgresql://me:secret@db/relaymap", "postgresql://me@db/relaymap?password=secret"]
)
def test_a_password_in_the_address_of_the_database_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fault,) = refused(monkeypatch, RELAYMAP_DATABASE_URL=url)
    assert "PGPASSFILE" in fault
    assert "secret" not in fault


def test_the_agent_asks_the_server_of_its_own_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(AgentSettings)
    assert settings.server == "http://127.0.0.1:8025"
    assert settings.token_path == Path("/var/lib/relaymap-agent/agent.token")
    assert settings.smtpd_conf == Path("/etc/smtpd.conf")
    assert (settings.control, settings.unit) == (Control.SYSTEMD, "opensmtpd.service")
    assert settings.apply_limit_s == 30
    assert settings.smtpd.name == "smtpd"


@pytest.mark.parametrize(
    "url",
    [
        "http://relaymap.example:8025",
        "https://relaymap.example/v1",
        "https://user@relaymap.example",
        "ftp://relaymap.example",
        "relaymap.example",
    ],
)
def test_an_agent_sends_its_token_in_the_clear_to_nobody(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fault,) = refused(monkeypatch, RELAYMAP_AGENT_SERVER=url)
    assert fault.startswith("RELAYMAP_AGENT_SERVER: ")


def test_both_processes_read_how_to_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAYMAP_LOG", "text")
    assert load(ServerSettings).log is LogForm.TEXT
    assert load(AgentSettings).log is LogForm.TEXT


@pytest.mark.io
def test_the_environment_wins_over_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "relaymap.env"
    file.write_text("RELAYMAP_PORT=8060\nRELAYMAP_LOG=text\n")
    monkeypatch.setenv("RELAYMAP_PORT", "8061")
    settings = load(ServerSettings, file)
    assert (settings.port, settings.log) == (8061, LogForm.TEXT)


@pytest.mark.io
def test_a_file_that_names_no_setting_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "relaymap.env"
    file.write_text(f"RELAYMAP_PROT=8060\nRELAYMAP_PASSWORD={SECRET}\n")
    with pytest.raises(BadSettings) as caught:
        load(ServerSettings, file)
    assert SECRET not in str(caught.value)
    with pytest.raises(BadSettings):
        load(ServerSettings, tmp_path / "missing.env")


@pytest.mark.io
@pytest.mark.parametrize(
    ("text", "line"),
    [("RELAYMAP_PORT=1\nRELAYMAP_HOST\n", 2), ("not a line\n", 1), ("\n# fine\n=x\n", 3)],
)
def test_a_line_of_a_file_that_says_nothing_is_refused(
    tmp_path: Path, text: str, line: int
) -> None:
    file = tmp_path / "settings"
    file.write_text(text)
    with pytest.raises(BadSettings, match=f"line {line} is no VARIABLE=value"):
        load(ServerSettings, file)


@pytest.mark.io
def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_bytes(b"RELAYMAP_PORT=\xff\n")
    with pytest.raises(BadSettings, match="UTF-8"):
        load(ServerSettings, file)


@pytest.mark.parametrize("name", ["RELAYMAP_KEEP_DAYS", "RELAYMAP_KEEP_REVISIONS"])
def test_for_ever_has_a_number(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "9" * 30)
    with pytest.raises(BadSettings, match=name):
        load(ServerSettings)
