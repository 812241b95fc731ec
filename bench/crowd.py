"""Many connections to one server, that cost next to nothing themselves: prepared octets out and in."""

import socket
from collections.abc import Sequence
from typing import Self

CONNECTIONS = 16
"""How many ask a server at once, where the figure does not say otherwise."""
_LENGTH = b"content-length: "


class Crowd:
    """Connections that ask side by side: each sends, then each reads, in turn."""

    def __init__(self, port: int, connections: int) -> None:
        self._links = [
            socket.create_connection(("127.0.0.1", port), 60) for _ in range(connections)
        ]
        for link in self._links:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            link.close()

    def ask(self, requests: Sequence[bytes]) -> bytes:
        """Send all of these requests, as many at once as there are connections; the last answer.

        Raises:
            RuntimeError: an answer is not a success.
        """
        waiting: list[socket.socket] = []
        answer = b""
        for number, request in enumerate(requests):
            link = self._links[number % len(self._links)]
            if len(waiting) == len(self._links):
                answer = _read(waiting.pop(0))
            link.sendall(request)
            waiting.append(link)
        for link in waiting:
            answer = _read(link)
        return answer


def _read(link: socket.socket) -> bytes:
    said = link.recv(1 << 18)
    while (end := said.find(b"\r\n\r\n")) < 0:
        said += link.recv(1 << 18)
    if not said.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(said[:200].decode("latin-1"))
    start = said.index(_LENGTH) + len(_LENGTH)
    whole = end + 4 + int(said[start : said.index(b"\r", start)])
    parts, have = [said], len(said)
    while have < whole:
        parts.append(link.recv(1 << 18))
        have += len(parts[-1])
    return b"".join(parts)[end + 4 :]


def post(path: str, body: bytes, token: str = "") -> bytes:
    """A request as it is sent."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str) -> bytes:
    """A request without a body, as it is sent."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
