"""A small real name server on loopback, UDP and TCP, that also fails in every way it is told to."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

FAILURES = {"SERVFAIL", "REFUSED", "SILENCE", "GARBAGE", "WRONG-ID"}
UDP_SIZE = 512
MAX_ALIASES = 20
SOA = "ns.test. admin.test. 1 3600 600 86400 30"

Key = tuple[dns.name.Name, str]


@dataclass
class NameServer:
    """Answers from records; counts what it was asked.

    Attributes:
        follows: whether it adds what an alias leads to, as resolvers do.
    """

    records: dict[Key, list[str]] = field(default_factory=dict)
    follows: bool = True
    ttl_s: int = 60
    port: int = 0
    asked: list[str] = field(default_factory=list)
    over_tcp: int = 0

    @classmethod
    def of(cls, zone: str, **options: object) -> "NameServer":
        """A server of a zone as the vectors write it: `name type value; …`."""
        server = cls(**options)  # type: ignore[arg-type]
        for line in filter(None, (part.strip() for part in zone.split(";"))):
            name, kind, value = line.split(maxsplit=2)
            server.add(name, kind, value)
        return server

    def add(self, name: str, kind: str, value: str) -> None:
        self.records.setdefault((dns.name.from_text(name), kind), []).append(value)

    def answer(self, wire: bytes, *, tcp: bool) -> bytes | None:
        """What is sent back; None for silence."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{question.name.to_text(omit_final_dot=True)} {kind}")
        self.over_tcp += tcp
        failure = self._failure(question.name, kind)
        if failure == "SILENCE":
            return None
        if failure == "GARBAGE":
            return b"\x00\x01garbage"
        response = dns.message.make_response(query, recursion_available=True)
        if failure in {"SERVFAIL", "REFUSED"}:
            response.set_rcode(dns.rcode.from_text(failure))
        else:
            self._fill(response, question.name, kind)
        if failure == "WRONG-ID":
            response.id ^= 1
        whole = response.to_wire(max_size=65535)
        if not tcp and len(whole) > UDP_SIZE:
            response.answer, response.additional = [], []
            response.flags |= dns.flags.TC
            return response.to_wire()
        return whole

    def _failure(self, name: dns.name.Name, kind: str) -> str | None:
        for key in ((name, kind), (name, "*")):
            for value in self.records.get(key, ()):
                if value in FAILURES:
                    return value
        return None

    def _fill(self, response: dns.message.Message, name: dns.name.Name, kind: str) -> None:
        for _ in range(MAX_ALIASES):
            values = self.records.get((name, kind))
            if values:
                response.answer.append(self._rrset(name, kind, values))
                return
            alias = self.records.get((name, "CNAME"))
            if not alias:
                break
            response.answer.append(self._rrset(name, "CNAME", alias))
            if not self.follows:
                return
            name = dns.name.from_text(alias[0])
        if name not in {known for known, _ in self.records}:
            response.set_rcode(dns.rcode.NXDOMAIN)
        response.authority.append(self._rrset(dns.name.from_text("test"), "SOA", [SOA]))

    def _rrset(self, name: dns.name.Name, kind: str, values: list[str]) -> dns.rrset.RRset:
        absolute = values if kind not in {"MX", "CNAME"} else [f"{v.rstrip('.')}." for v in values]
        return dns.rrset.from_text_list(name, self.ttl_s, "IN", kind, absolute)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The selector loop's datagram transport is no DatagramTransport by class.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, tcp=False)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def serving(server: NameServer) -> AsyncIterator[NameServer]:
    """The server, listening on a port of loopback for UDP and TCP."""

    async def over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2))
        answer = server.answer(await reader.readexactly(size), tcp=True)
        if answer is not None:
            writer.write(len(answer).to_bytes(2) + answer)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    loop = asyncio.get_running_loop()
    streams = await asyncio.start_server(over_tcp, "127.0.0.1", 0)
    server.port = streams.sockets[0].getsockname()[1]
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Udp(server), local_addr=("127.0.0.1", server.port)
    )
    try:
        yield server
    finally:
        transport.close()
        streams.close()
        await streams.wait_closed()


def hosts(count: int) -> Iterator[str]:
    """That many MX hosts of d.test with their addresses, as a zone writes them."""
    for number in range(count):
        yield f"d.test MX {number} h{number}.d.test"
        yield f"h{number}.d.test A 192.0.2.1"
