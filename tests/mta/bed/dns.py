"""The DNS that a namespace sees: a server on 127.0.0.1 with a zone that the test gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.mta.bed.channel import Channel
from tests.mta.bed.namespace import Namespace

Zone = Mapping[str, Mapping[str, Sequence[str] | str | int]]
"""Name -> records by type, as in `{"a.test": {"MX": ["10 mx.a.test."], "A": ["192.0.2.1"]}}`.

`status` gives a name an error instead (`SERVFAIL`, `NXDOMAIN`, or `silent` for no answer), `ttl`
other seconds than 60. Names that the zone lacks do not exist. A null MX is `["0 ."]` (RFC 7505).
"""


@dataclass(slots=True)
class Dns:
    """The running server."""

    channel: Channel

    @classmethod
    def open(cls, namespace: Namespace, zone: Zone) -> Self:
        """Start the server and wait until it answers from the zone."""
        script = Path(__file__).with_name("dns_server.py")
        server = cls(Channel.open(namespace, script))
        server.serve(zone)
        return server

    def close(self) -> None:
        """End the server."""
        self.channel.close()

    def serve(self, zone: Zone) -> None:
        """Answer from another zone from now on."""
        plain = {name.lower(): dict(records) for name, records in zone.items()}
        self.channel.call("serve", zone=plain)

    def asked(self) -> list[str]:
        """Answer all questions so far, as `name TYPE`."""
        return list(self.channel.call("asked"))
