"""The question in hand, kept where a kill -9 between any two calls neither loses nor doubles it.

smtpd asks all its tables one question at a time, and waits for ever for an answer that does not
come; one too many it takes for the answer to its next question. So an answer is first put into a
pipe that outlives who puts it there, then the question is taken from smtpd's socket, and then the
answer is moved on by splice(2). Whoever finds the pipe full goes on from there, and who finds it
empty has nothing to do: in each case the kernel knows which.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import select
import socket
import struct
import termios
from collections.abc import Mapping

_HEAD = struct.Struct("=IIIII")  # slot to be, table, octets of question and answer, its number
_GIVEN = struct.Struct("=II")  # slot, number of the last answer whose question was taken
_GIVEN_AT = _HEAD.size
"""Whoever is killed in the middle of writing it leaves another number than the one in hand, unless
all of it is there: the question is then taken again, and there is none, which does no harm."""
_LENGTH = struct.Struct("=I")
_SLOTS = (32, 32 + 16_384)
_SIZE = _SLOTS[1] + 16_384
_ROOM = 16_384 - _LENGTH.size
_LONGEST = 65_536
_CANNOT = {errno.EINVAL, errno.ENOSYS}
"""From a kernel that moves nothing from a pipe to such a socket."""


class InHand:
    """What is shared by the process that answers and the one that keeps it."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _SIZE)
        self._out, self._in = os.pipe()
        os.set_blocking(self._in, False)

    @property
    def answered(self) -> int:
        """How many answers were given, by whichever process."""
        return int(_GIVEN.unpack_from(self._shared, _GIVEN_AT)[1])

    def state(self) -> bytes:
        """What was kept with the last answer that was given with something to keep."""
        at = _SLOTS[_GIVEN.unpack_from(self._shared, _GIVEN_AT)[0]]
        (length,) = _LENGTH.unpack_from(self._shared, at)
        return bytes(self._shared[at + 4 : at + 4 + length])

    def give(
        self, table: int, link: socket.socket, octets: int, answer: bytes, state: bytes | None
    ) -> None:
        """Take a question from smtpd's socket, and give the answer to it.

        Args:
            table: the number of what was asked.
            link: where it was asked.
            octets: of the question.
            answer: at least one octet.
            state: what has to be kept from now on; None: as it is.
        """
        shared, length = self._shared, len(answer)
        slot, number = _GIVEN.unpack_from(shared, _GIVEN_AT)
        number = (number + 1) & 0xFFFFFFFF
        if state is not None:
            slot = 1 - slot
            kept = state if len(state) <= _ROOM else b""
            at = _SLOTS[slot]
            shared[at : at + 4 + len(kept)] = _LENGTH.pack(len(kept)) + kept
        _HEAD.pack_into(shared, 0, slot, table, octets, length, number)
        try:
            put = os.write(self._in, answer)  # from here on it is given, whoever goes on
        except BlockingIOError:
            put = 0
        if put < length:  # a pipe that small; then it cannot be kept
            self._empty()
        link.recv(octets)
        _GIVEN.pack_into(shared, _GIVEN_AT, slot, number)
        if put < length:
            _send(link, answer)
        else:
            self._move(link, length)

    def resume(self, links: Mapping[int, socket.socket]) -> None:
        """Go on where somebody who was killed stopped, before anything else is answered."""
        waits = self._waits()
        if not waits:
            return
        slot, table, octets, length, number = _HEAD.unpack_from(self._shared)
        is_taken = number == self.answered
        link = links.get(table)
        if link is None or (not is_taken and waits < length):
            self._empty()  # it was not all there, so the question is still to be had
            return
        if not is_taken:
            with contextlib.suppress(BlockingIOError):  # taken, and not said yet
                link.recv(octets, socket.MSG_DONTWAIT)
            _GIVEN.pack_into(self._shared, _GIVEN_AT, slot, number)
        self._move(link, waits)

    def _move(self, link: socket.socket, octets: int) -> None:
        while octets:
            try:
                octets -= os.splice(self._out, link.fileno(), octets)
            except BlockingIOError:
                _until_it_takes_more(link)
            except OSError as error:
                if error.errno in _CANNOT:  # then two calls must do, and smtpd has its answer
                    _send(link, os.read(self._out, octets))
                else:  # it has gone; its end is read next
                    self._empty()
                return

    def _waits(self) -> int:
        """Octets in the pipe."""
        found = fcntl.ioctl(self._out, termios.FIONREAD, b"\0" * 4)
        return int(struct.unpack("=i", found)[0])

    def _empty(self) -> None:
        while waits := self._waits():
            os.read(self._out, min(waits, _LONGEST))


def _send(link: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[link.send(data) :]
        except BlockingIOError:
            _until_it_takes_more(link)
        except OSError:  # it has gone; its end is read next
            return


def _until_it_takes_more(link: socket.socket) -> None:
    waits = select.poll()  # it may be a number that select(2) has no room for
    waits.register(link, select.POLLOUT)
    waits.poll()
