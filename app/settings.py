"""What each process is told from outside: its environment, or a file of the same names."""

import ipaddress
import re
import shutil
import socket
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.routing.errors import ControlError

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_DNS_PORT = 53
_SBIN = "/usr/sbin"


class BadSettings(ControlError):
    """The process cannot start as it is told to.

    Attributes:
        faults: one sentence each, which names the variable and says what to do. Never a value: a
            secret pasted into the wrong variable would be in the log.
    """

    code = "bad-settings"

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class LogForm(StrEnum):
    """How log lines are written."""

    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """The least level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Control(StrEnum):
    """How the agent runs smtpd."""

    SYSTEMD = "systemd"
    SUPERVISE = "supervise"


class Asks(StrEnum):
    """Whether smtpd asks the table program, or reads files."""

    AUTO = "auto"
    LIVE = "live"
    STATIC = "static"


def _parts(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _fault(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("bad_setting", "{sentence}", {"sentence": sentence})


def _dns_server(text: str) -> tuple[str, int]:
    """An address with or without a port: `192.0.2.53`, `127.0.0.1:5353`, `[::1]:5353`, `::1`."""
    host, port = text, str(_DNS_PORT)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise _fault("write addresses with or without a port: 127.0.0.1:5353,[::1]:53") from None
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise _fault("a port is a number from 1 to 65535")
    return host, int(port)


def _dns_servers(value: object) -> object:
    parts = _parts(value)
    if isinstance(parts, tuple):
        return tuple(_dns_server(part) if isinstance(part, str) else part for part in parts)
    return parts


def _networks(value: object) -> object:
    parts = _parts(value)
    if isinstance(parts, tuple):
        return tuple(_network(part) if isinstance(part, str) else part for part in parts)
    return parts


def _network(text: str) -> IPNetwork:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise _fault("write networks and addresses: 192.0.2.0/24,2001:db8::/32") from None


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if not parts.scheme.startswith(("postgresql", "sqlite")):
        raise _fault("write postgresql://user@host/database, or leave it out for SQLite")
    if parts.password is not None or "password" in parse_qs(parts.query):
        raise _fault(
            "take the password out of it: name a file of passwords with PGPASSFILE "
            "or ?passfile=/path"
        )
    return url


Port = Annotated[int, Field(ge=1, le=65535)]


class ServerSettings(BaseSettings):
    """What `serve` and the commands that open its database are told."""

    model_config = SettingsConfigDict(
        env_prefix="RELAYMAP_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    state_dir: Path = Path("/var/lib/relaymap")
    database_url: Annotated[str, AfterValidator(_without_password)] | None = None
    host: str = "127.0.0.1"
    port: Port = 8025
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    behind_proxy: bool = False
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parts)] = (
        "localhost",
        "127.0.0.1",
        "[::1]",
    )
    sealing_key_file: Path | None = None
    admin_token_file: Path | None = None
    require_if_match: bool = False
    metrics_token: bool = True
    keep_revisions: Annotated[int, Field(ge=1, le=2**53)] = 10_000
    keep_days: Annotated[int, Field(ge=1, le=36_500)] = 400
    dns_servers: Annotated[
        tuple[tuple[str, int], ...], NoDecode, BeforeValidator(_dns_servers)
    ] = ()
    log: LogForm | None = None
    log_level: LogLevel = LogLevel.INFO

    @model_validator(mode="after")
    def _check_listening(self) -> Self:
        """An address that others can reach needs TLS, here or in front of us."""
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise _fault(
                "RELAYMAP_TLS_CERT_FILE, RELAYMAP_TLS_KEY_FILE: set both of them, or neither"
            )
        if not (self.tls_cert_file or self.behind_proxy or _is_loopback(self.host)):
            raise _fault(
                "RELAYMAP_HOST: tokens and passwords would cross the network in the clear; set "
                "RELAYMAP_TLS_CERT_FILE and RELAYMAP_TLS_KEY_FILE, or RELAYMAP_BEHIND_PROXY=1 "
                "where something in front of it speaks TLS, or listen on 127.0.0.1"
            )
        return self

    @property
    def store_url(self) -> str:
        """Where the database is: SQLite in the state directory unless said otherwise."""
        return self.database_url or str(self.state_dir.absolute() / "relaymap.db")

    @property
    def key_path(self) -> Path:
        """The file of the key that seals credentials."""
        return self.sealing_key_file or self.state_dir / "sealing.key"

    @property
    def token_path(self) -> Path:
        """The file that the first start writes the first token to."""
        return self.admin_token_file or self.state_dir / "admin.token"


def _server(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise _fault("write http://host:port or https://host:port")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise _fault("write nothing after the host and port")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise _fault("passwords would cross the network in the clear; write https://host:port")
    return url.rstrip("/")


def _unit(name: str) -> str:
    """A unit as systemctl takes it (systemd.unit(5)); it can be no option of systemctl."""
    allowed = set("@_.:-")
    if (
        not name.endswith(".service")
        or name.startswith("-")
        or not all(letter.isascii() and (letter.isalnum() or letter in allowed) for letter in name)
    ):
        raise _fault("write the name of a service unit, such as opensmtpd.service")
    return name


def _host_name() -> str:
    return socket.gethostname().partition(".")[0].lower()


def _program(name: str) -> Path:
    """The program on PATH or in /usr/sbin, which is on no PATH but root's."""
    return Path(shutil.which(name) or shutil.which(name, path=_SBIN) or f"{_SBIN}/{name}")


class AgentSettings(BaseSettings):
    """What `agent` is told: paths and commands live here, and the server can name none of them."""

    model_config = SettingsConfigDict(
        env_prefix="RELAYMAP_AGENT_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    server: Annotated[str, AfterValidator(_server)] = "http://127.0.0.1:8025"
    mta: str = Field(default_factory=_host_name)
    token_file: Path | None = None
    state_dir: Path = Path("/var/lib/relaymap-agent")
    smtpd_conf: Path = Path("/etc/smtpd.conf")
    control: Control = Control.SYSTEMD
    unit: Annotated[str, AfterValidator(_unit)] = "opensmtpd.service"
    smtpd: Path = Field(default_factory=lambda: _program("smtpd"))
    smtpctl: Path = Field(default_factory=lambda: _program("smtpctl"))
    mode: Asks = Asks.AUTO
    apply_limit_s: Annotated[int, Field(ge=1, le=3600)] = 30
    probe_not: Annotated[tuple[IPNetwork, ...], NoDecode, BeforeValidator(_networks)] = ()
    probe_auth: bool = False
    log: LogForm | None = Field(default=None, validation_alias="RELAYMAP_LOG")
    log_level: LogLevel = Field(default=LogLevel.INFO, validation_alias="RELAYMAP_LOG_LEVEL")

    @property
    def token_path(self) -> Path:
        """The file that holds the token of this agent."""
        return self.token_file or self.state_dir / "agent.token"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


Settings = TypeVar("Settings", bound=BaseSettings)


def load(
    settings: type[Settings], file: Path | None = None, told: Mapping[str, Any] | None = None
) -> Settings:
    """The settings of a process from its environment, which wins over `file`.

    Args:
        settings: of which process.
        file: `VARIABLE=value` lines.
        told: what its command line says, by field; it wins over both.

    Raises:
        BadSettings: every fault found.
    """
    if file is not None:
        _look_at(file)
    try:
        return settings(_env_file=file, **(told or {}))
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix") or ""
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise BadSettings(tuple(_sentences(found, prefix))) from None


_LINE = re.compile(r"\s*(#.*|(export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=.*)?")


def _look_at(file: Path) -> None:
    """Refuse a file of settings in which a line would be passed over. Raises BadSettings."""
    if not file.is_file():
        raise BadSettings(("--settings: there is no such file",))
    try:
        lines = file.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise BadSettings(("--settings: the file is not UTF-8",)) from None
    bad = [number for number, line in enumerate(lines, 1) if not _LINE.fullmatch(line)]
    if bad:
        raise BadSettings(
            tuple(f"--settings: line {number} is no VARIABLE=value" for number in bad)
        )


def _sentences(found: Iterable[Any], prefix: str) -> Iterable[str]:
    for fault in found:
        if not fault["loc"]:
            yield fault["msg"]
        elif fault["type"] == "extra_forbidden":
            yield "--settings: the file sets something that is no setting of this process"
        else:
            name = str(fault["loc"][0]).upper()
            yield f"{name if name.startswith(prefix) else prefix + name}: {fault['msg']}"
