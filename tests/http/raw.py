"""A request as octets, with another behind it on the same connection, and the answers to both."""

import re
import socket

from tests.http.servers import Server

_START = "PUT /v1/relay-maps/new HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
_BEHIND = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_PATIENCE_S = 20


def statuses(server: Server, header: str) -> list[int]:
    """Of every answer to a request with this header and to the one that is sent behind it."""
    with socket.create_connection(("127.0.0.1", server.port), _PATIENCE_S) as link:
        link.sendall(f"{_START}\r\n{header}\r\n\r\n{_BEHIND}".encode())
        said = b""
        while more := link.recv(1 << 16):
            said += more
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]
