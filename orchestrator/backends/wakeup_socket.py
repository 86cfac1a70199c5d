"""The socket by which the supervisor wakes all executors at once."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


class WakeupSocket:
    """Own both ends: one for executors to poll, one to write to.

    A socket, because a pipe's reader can open its other end through /proc/self/fd and wake all; this one cannot, and
    writing to the first end fails (shutdown(2)).
    """

    def __init__(self) -> None:
        read, write = socket.socketpair()
        write.shutdown(socket.SHUT_RD)
        self.read_fd, self.write_fd = read.detach(), write.detach()

    def wake(self) -> None:
        """Write one byte, which is never read: all see it."""
        with suppress(BlockingIOError):
            os.write(self.write_fd, b"!")

    def close(self) -> None:
        """Close both ends."""
        os.close(self.read_fd)
        os.close(self.write_fd)
