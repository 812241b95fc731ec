"""Run as a script inside: answer DNS questions from a zone, as a recursive resolver would.

Commands and answers are the JSON lines of `channel`; needs dnspython.
"""

import asyncio
import json
import struct
import sys
from typing import Any, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

CHAIN = 16
TTL_S = 60

Zone = dict[str, dict[str, Any]]


class Resolver:
    """The zone, and what is answered from it."""

    def __init__(self) -> None:
        self.zone: Zone = {}
        self.asked: list[str] = []

    def answer(self, wire: bytes) -> bytes | None:
        """Answer a question in wire form; None says nothing at all, as a dead server."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text().rstrip(".").lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name} {kind}")
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        for _ in range(CHAIN):
            records = self.zone.get(name)
            if records is None or records.get("status") == "NXDOMAIN":
                response.set_rcode(dns.rcode.NXDOMAIN)
                break
            status = records.get("status")
            if status == "silent":
                return None
            if status is not None:
                response.set_rcode(dns.rcode.from_text(status))
                break
            ttl = int(records.get("ttl", TTL_S))
            if "CNAME" not in records or kind == "CNAME":
                found = records.get(kind, [])
                if found:
                    response.answer.append(dns.rrset.from_text(f"{name}.", ttl, "IN", kind, *found))
                break
            target = str(records["CNAME"][0])
            response.answer.append(dns.rrset.from_text(f"{name}.", ttl, "IN", "CNAME", target))
            name = target.rstrip(".").lower()
        return response.to_wire(max_size=65535)


class Datagrams(asyncio.DatagramProtocol):
    """DNS over UDP."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers go out by."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer one question."""
        answer = self.resolver.answer(data)
        if answer is not None:
            self.transport.sendto(answer, addr)


async def over_tcp(
    resolver: Resolver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer the questions of one connection (RFC 7766)."""
    try:
        while True:
            (size,) = struct.unpack("!H", await reader.readexactly(2))
            answer = resolver.answer(await reader.readexactly(size))
            if answer is not None:
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    """Serve on 127.0.0.1:53; obey commands from standard input until it ends."""
    loop = asyncio.get_running_loop()
    resolver = Resolver()
    address = ("127.0.0.1", 53)
    await loop.create_datagram_endpoint(lambda: Datagrams(resolver), local_addr=address)
    server = await asyncio.start_server(lambda r, w: over_tcp(resolver, r, w), *address)
    async with server:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            if command["verb"] == "serve":
                resolver.zone = command["zone"]
            answer = {"id": command["id"], "answer": resolver.asked}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
