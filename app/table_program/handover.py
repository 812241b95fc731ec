"""One program for all tables: a later one hands its socket to the first, and ends.

smtpd starts this program once for each `table` line, one after the other, and asks them one
question at a time: a second Python would answer nothing sooner, and cost memory and a start. What
counts for smtpd is the socket that it gave, not the process that it started: its lookup process
reaps those that end, and asks on.

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
"""Said by who hands over once it has: only then is it served there, so never at both ends."""
KEPT = b"l"
"""Said at last: now two processes hold it, and whoever handed over may end."""
_LIMIT_S = 5.0
_TRIES = 50


def data_of(config: str) -> str:
    """The directory of the live file, for a table that is declared with this configuration."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(config))), "data")  # noqa: PTH118, PTH120, PTH100


def parent_of(pid: int) -> int:
    """The process that a process is a child of; 0 where that is not known."""
    try:
        stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return 0
    try:
        return int(os.read(stat, 4096).rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    finally:
        os.close(stat)


def address_of(config: str, parent: int) -> str:
    """Where the program of a smtpd listens; `parent` is the process of it that starts programs.

    It names the first process of that smtpd as well, for who looks for the program.
    """
    return os.path.join(data_of(config), ROOM, f"{parent_of(parent)}.{parent}.sock")  # noqa: PTH118


def hand_over(config: str) -> None:
    """Hand over to the program that smtpd started first, and end.

    This returns only where there is no such program: then this is the first.
    """
    address = address_of(config, os.getppid())
    for _ in range(_TRIES):  # who was to take it may be killed: another one has its place then
        link = _connected(address)
        if link is None:
            return
        try:
            is_kept = _is_kept(link)
        except TimeoutError:
            return
        except OSError:
            is_kept = False
        if is_kept:
            os._exit(0)
        link.close()


def _is_kept(link: _socket.socket) -> bool:
    """Hand over there; whether it was taken for good. It raises OSError where it was not."""
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", 0))
    link.sendmsg([HANDS_OVER], [rights])
    if link.recv(1) != TAKEN:
        return False
    link.settimeout(None)  # from here on it is the other's to serve
    link.send(LEFT)
    return link.recv(1) == KEPT


def _connected(address: str) -> "_socket.socket | None":
    """A connection to who listens there, if it is a process of the same user."""
    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    link.settimeout(_LIMIT_S)
    try:
        link.connect(address)
        said = link.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        link.close()
        return None
    if struct.unpack("3i", said)[1] == os.getuid():
        return link
    link.close()
    return None
