"""Queue orders to the guardian: sent at once where the socket has room, kept where it has none.

The supervisor's loop must never wait for the guardian, which may be held (a tracer, a frozen cgroup) while hundreds of
executors are to get orders. An order keeps duplicates of its descriptors until it is sent, so that whatever
becomes of the originals, no other file is sent under their numbers.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from runtime.ipc.frames import pack
from runtime.ipc.guardian_protocol import Order

MAX_OPTIONAL = 64
"""Orders that may wait before those that nothing depends on (a ping, a request for stacks) are dropped."""

_NO_ROOM = {errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM, errno.EMFILE}
"""unix(7), sendmsg(2). ETOOMANYREFS: more descriptors are in flight than this user may have open."""


class OrderQueue:
    """Hold one socket's unsent orders, in order. They are few: some for each incarnation of an executor."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self.is_blocked = False
        """Whether the socket has no room, and becomes writable when it has."""

    def __len__(self) -> int:
        return len(self._unsent)

    def put(self, order: Order, fds: Sequence[int] = (), *, optional: bool = False) -> None:
        """Send an order with descriptors, which stay the caller's, now or when there is room.

        Raises OSError if the descriptors cannot be kept (EMFILE).
        """
        if optional and len(self._unsent) >= MAX_OPTIONAL:
            return
        data = pack(order)
        if self._unsent or not self._send(data, fds):
            self._unsent.append((data, _duplicates(fds)))

    def flush(self) -> None:
        """Send what there is room for."""
        while self._unsent:
            data, fds = self._unsent[0]
            if not self._send(data, fds):
                return
            self._unsent.popleft()
            _close(fds)

    def _send(self, data: bytes, fds: Sequence[int]) -> bool:
        """Return whether it was sent. An order is smaller than the socket's smallest buffer: it goes whole or not."""
        try:
            if fds:
                socket.send_fds(self._socket, [data], list(fds))
            else:
                self._socket.send(data)
        except OSError as error:
            if error.errno in _NO_ROOM:
                self.is_blocked = error.errno == errno.EAGAIN
                return False
        self.is_blocked = False
        return True  # a dead guardian's orders are dropped; its death is noticed where its reports are read

    def close(self) -> None:
        """Drop what was not sent."""
        while self._unsent:
            _close(self._unsent.popleft()[1])
        self.is_blocked = False


def _duplicates(fds: Sequence[int]) -> list[int]:
    copies: list[int] = []
    try:
        copies.extend(map(os.dup, fds))
    except OSError:
        _close(copies)
        raise
    return copies


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
