"""The addresses of this host, as getifaddrs(3) would list them: smtpd's `local`.

Asked of the kernel by rtnetlink(7), as getifaddrs does: /proc/net/fib_trie also lists what is only
routed to this host, which smtpd does not take for local, and `ip` is not on every machine.
"""

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

from app.routing.names import IPAddress

_RTM_NEWADDR = 20
_RTM_GETADDR = 22
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST_DUMP = 0x1 | 0x300
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, interface
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_BUFFER = 65_536
_LIMIT_S = 5.0


def of_host(interface: str | None = None) -> tuple[IPAddress, ...]:
    """The addresses of all interfaces, or of one, in ascending order, IPv4 first.

    Raises:
        OSError: the kernel does not answer, or there is no such interface.
    """
    wanted = None if interface is None else socket.if_nametoindex(interface)
    found = {address for index, address in _dump() if wanted in {None, index}}
    return tuple(sorted(found, key=lambda address: (address.version, int(address))))


def _dump() -> Iterator[tuple[int, IPAddress]]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(_LIMIT_S)
        body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        size = _HEADER.size + len(body)
        kernel.send(_HEADER.pack(size, _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0) + body)
        while True:
            for kind, message in _messages(kernel.recv(_BUFFER)):
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    raise OSError("the kernel does not list its addresses")
                if kind == _RTM_NEWADDR:
                    yield from _address(message)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        size, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : size]
        data = data[_aligned(size) :]


def _address(message: bytes) -> Iterator[tuple[int, IPAddress]]:
    family, _, _, _, interface = _ADDRESS.unpack_from(message)
    attributes: dict[int, bytes] = {}
    rest = message[_ADDRESS.size :]
    while len(rest) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(rest)
        attributes[kind] = rest[_ATTRIBUTE.size : size]
        rest = rest[_aligned(size) :]
    # On a point-to-point link IFA_ADDRESS is the other end; our own is IFA_LOCAL.
    own = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS))
    if own is not None and family in {socket.AF_INET, socket.AF_INET6}:
        yield interface, ip_address(own)


def _aligned(size: int) -> int:
    return (size + 3) & ~3
