"""One process for all tables: a later one hands its descriptors to the first, and only waits.

smtpd starts this program once for each `table` line, one after the other, and asks them one
question at a time: a second Python would answer nothing sooner, and cost memory and a start.
What waits is cat(1). It ends with the process that serves, which ends with smtpd.

Imported before `site` has run: nothing but what is built into the interpreter.
"""

import _socket
import os
import struct

ROOM = "run"
"""The directory beside the live file's where sockets are; smtpd's user may write there."""

HANDS_OVER = b"T"
TAKEN = b"t"
LEFT = b"L"
"""Said last by who hands over: only then are they served there, so never at both ends."""
_LIMIT_S = 5.0


def data_of(config: str) -> str:
    """The directory of the live file, for a table that is declared with this configuration."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(config))), "data")  # noqa: PTH118, PTH120, PTH100


def address_of(config: str, parent: int) -> str:
    """Where the first program of a smtpd listens; `parent` is the process that starts them."""
    return os.path.join(data_of(config), ROOM, f"{parent}.sock")  # noqa: PTH118


def hand_over(config: str) -> None:
    """Hand over to the program that smtpd started first, and become what waits for its end.

    This returns only where there is no such program: then this is the first.
    """
    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    link.settimeout(_LIMIT_S)
    try:
        link.connect(address_of(config, os.getppid()))
        if not _is_ours(link):
            return
        link.sendmsg(
            [HANDS_OVER], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("ii", 0, 1))]
        )
        if link.recv(1) != TAKEN:
            return
        link.send(LEFT)
    except OSError:
        return
    link.settimeout(None)
    os.dup2(link.fileno(), 0)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.execv("/bin/cat", ["cat"])  # noqa: S606  it must be no Python that waits


def _is_ours(link: _socket.socket) -> bool:
    """Whether who listens there is a process of the same user."""
    said = link.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", said)[1] == os.getuid())
