"""What stands around the daemon: sinks for every kind of relay, a DNS zone, clients and users."""

from dataclasses import dataclass
from ipaddress import ip_address

from app.render.generation import Secret
from app.routing.credential import Credential
from app.routing.envelope import LOOPBACK
from app.routing.names import IPAddress
from tests.mta.bed.certificates import Authority
from tests.mta.bed.dns import Zone
from tests.mta.bed.injector import SOCKET
from tests.mta.bed.namespace import HOST_NAME, WORKSPACE
from tests.mta.bed.sinks import Sink
from tests.mta.bed.smtpd import Listener, Smtpd

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
"""Where smtpd finds the CAs that it trusts without being told (of the machine inside)."""
OTHER_CA = "other"
USERNAME = "relay-user"
PASSWORD = "open: sesame"
LABEL = "lab"

PLAIN = (
    Sink("plain1", "127.0.1.11"),
    Sink("plain2", "127.0.1.12"),
    Sink("plain3", "127.0.1.13"),
    Sink("plain4", "127.0.1.14"),
    Sink("named", "127.0.1.16"),
    Sink("port25", "127.0.1.17", 25),
)
SIX = Sink("six", "2001:db8:2::25")
LMTP = Sink("lmtp", "127.0.1.31", protocol="lmtp")
MX = (
    Sink("mx1", "127.0.1.41", 25),
    Sink("mx2", "127.0.1.42", 25),
    Sink("mx3", "127.0.1.43", 25),
    Sink("mx6", "2001:db8:2::25", 25),
)
NAMED_HOST = "relay.named.test"


def _pem(kind: str) -> str:
    return f"{WORKSPACE}/sinks-{kind}.pem"


def _offers(name: str, address: str, kind: str, **more: object) -> Sink:
    must = {"require_tls": True} | more
    return Sink(name, address, tls="starttls", certificate=_pem(kind), **must)  # type: ignore[arg-type]


def _smtps(name: str, address: str, kind: str, port: int = 27025, **more: object) -> Sink:
    return Sink(name, address, port, tls="smtps", certificate=_pem(kind), **more)  # type: ignore[arg-type]


LOGINS = {USERNAME: PASSWORD}
# Two, since smtpd waits 3 s between two connections to one address over different URLs.
OPTIONAL = _offers("optional", "127.0.1.15", "unknown", require_tls=False)
UNUSED_OFFER = _offers("unused-offer", "127.0.1.18", "unknown", require_tls=False)
TRUSTED = (
    _offers("starttls1", "127.0.1.21", "trusted"),
    _offers("starttls2", "127.0.1.22", "trusted"),
    _smtps("smtps1", "127.0.1.23", "trusted"),
    _smtps("smtps2", "127.0.1.24", "trusted", 465),
)
WITH_LOGIN = (
    _offers("login1", "127.0.1.25", "trusted", logins=LOGINS),
    _smtps("login2", "127.0.1.26", "trusted", logins=LOGINS),
)
OTHERS = (_offers("other1", "127.0.1.27", "other"), _smtps("other2", "127.0.1.28", "other"))
UNKNOWN = (
    _offers("unknown1", "127.0.1.29", "unknown"),
    _smtps("unknown2", "127.0.1.30", "unknown"),
)
SINKS = (*PLAIN, SIX, LMTP, *MX, OPTIONAL, UNUSED_OFFER, *TRUSTED, *WITH_LOGIN, *OTHERS, *UNKNOWN)
SINK_AT = {(sink.address, sink.port): sink for sink in SINKS}

ZONE: Zone = {
    NAMED_HOST: {"A": ["127.0.1.16"]},
    "mx1.zone.test": {"A": ["127.0.1.41"]},
    "mx2.zone.test": {"A": ["127.0.1.42"]},
    "mx3.zone.test": {"A": ["127.0.1.43"]},
    "mx6.zone.test": {"AAAA": ["2001:db8:2::25"]},
    "bare.zone.test": {"TXT": ["x"]},
    "a.test": {"MX": ["20 mx2.zone.test.", "10 mx1.zone.test."]},
    "x.a.test": {"A": ["127.0.1.42"]},
    "y.x.a.test": {"MX": ["10 mx3.zone.test."]},
    "b.test": {"MX": ["10 mx2.zone.test.", "10 mx3.zone.test."]},
    "x.b.test": {"MX": ["5 mx6.zone.test."]},
    "alias.test": {"CNAME": ["a.test."]},
    "fail.test": {"status": "SERVFAIL"},
    "null.test": {"MX": ["0 ."]},
    "nothing.test": {"TXT": ["x"]},
    "dead.test": {"MX": ["10 bare.zone.test."]},
    # nx.test and x.nx.test do not exist.
}


@dataclass(frozen=True, slots=True)
class Client:
    """A client, as an envelope names it and as the injector plays it."""

    kind: str
    address: str

    @property
    def host(self) -> str:
        """Where it finds the daemon."""
        return "::1" if ":" in self.address else "127.0.0.1"


CLIENTS = (
    Client("socket", SOCKET),
    Client("loopback", "127.0.0.1"),
    Client("loopback", "::1"),
    Client("own", "203.0.113.5"),
    Client("own", "2001:db8:ffff::5"),
    Client("other 127/8", "127.0.0.2"),
    Client("IPv4", "192.0.2.9"),
    Client("IPv4", "192.0.2.200"),
    Client("IPv4", "198.51.100.7"),
    Client("IPv6", "2001:db8:1::77"),
    Client("IPv6", "2001:db8:2::77"),
)
OWN_ADDRESSES: frozenset[IPAddress] = LOOPBACK | {
    ip_address("203.0.113.5"),
    ip_address("2001:db8:ffff::5"),
}
USERS = {"alice": "a-word", "bob": "b-word", "carol": "c-word", "carol@corp.test": "d-word"}
LISTENERS = (
    Listener(27301, logins=True),
    Listener(27302, "SUB", logins=True),
    Listener(27303, "A", logins=True),
    Listener(27304, "AB", logins=True),
)
PORTS = {listener.tag: listener.port for listener in LISTENERS}
HELO_OF_MTA = HOST_NAME

CREDENTIAL = Credential(LABEL, 1, ("127.0.1.25", "127.0.1.26"))
SECRET = Secret(LABEL, 1, USERNAME, PASSWORD)


def furnish(smtpd: Smtpd) -> tuple[str, ...]:
    """Put certificates where sinks and daemon look for them; answer the operator's declarations."""
    trusted, other, unknown = (Authority.create(name) for name in ("trusted", "other", "unknown"))
    for kind, authority in (("trusted", trusted), ("other", other), ("unknown", unknown)):
        addresses = [sink.address for sink in SINKS if sink.certificate == _pem(kind)]
        smtpd.write(_pem(kind), "".join(authority.issue(*addresses)), mode=0o600)
    smtpd.write(BUNDLE, trusted.pem())
    smtpd.write(f"{WORKSPACE}/other-ca.pem", other.pem())
    return (f'ca {OTHER_CA} cert "{WORKSPACE}/other-ca.pem"',)
