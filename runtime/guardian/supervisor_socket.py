"""The guardian's end of the socket to the supervisor: orders in, with descriptors, and reports out.

The supervisor waits while it writes an order, so the guardian must never wait while it writes a report: with hundreds
of executors both would stand there with full sockets. What does not fit is kept, and goes when there is room.
"""

from __future__ import annotations

import selectors
import socket
from contextlib import suppress

from runtime.ipc.executor_protocol import HEADER_SIZE, FrameReader, pack
from runtime.ipc.guardian_protocol import FDS_PER_EXECUTOR, Order, Report


class SupervisorSocket:
    """One socket, on the guardian's selector."""

    def __init__(self, fd: int, selector: selectors.BaseSelector) -> None:
        self._socket = socket.socket(fileno=fd)
        self._selector = selector
        self._reader: FrameReader[Order] = FrameReader(Order)
        self._unsent = bytearray()
        self.is_connected = True
        self._interest = selectors.EVENT_READ
        selector.register(self._socket, self._interest)

    def read(self) -> tuple[list[Order], list[int]] | None:
        """One frame's order, and the descriptors that came with it. None: the supervisor is gone."""
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, HEADER_SIZE, FDS_PER_EXECUTOR)
            if len(data) == HEADER_SIZE:
                data += self._rest(int.from_bytes(data[:4], "little"))
        except OSError:
            return None
        return None if len(data) < HEADER_SIZE else (list(self._reader.feed(data)), fds)

    def _rest(self, want: int) -> bytes:
        """Exactly the frame's remaining bytes, so that descriptors never belong to a later frame."""
        parts: list[bytes] = []
        while want > 0:
            part = self._socket.recv(want)
            if not part:
                raise OSError("the supervisor's socket ended inside a frame")
            parts.append(part)
            want -= len(part)
        return b"".join(parts)

    def disconnect(self) -> None:
        """There is nobody any more to hear anything."""
        self.is_connected = False
        self._unsent.clear()
        self._listen(0)

    def report(self, report: Report) -> None:
        """Say it now, or as soon as there is room."""
        if not self.is_connected:
            return
        self._unsent += pack(report)
        self.flush()

    def flush(self) -> None:
        """Write what there is room for. A dead supervisor is noticed where its orders are read."""
        try:
            del self._unsent[: self._socket.send(self._unsent, socket.MSG_DONTWAIT)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()
        self._listen(self._interest & ~selectors.EVENT_WRITE | (selectors.EVENT_WRITE if self._unsent else 0))

    def stop_reading(self) -> None:
        """No order will be obeyed any more; what was reported still goes out."""
        self._listen(self._interest & ~selectors.EVENT_READ)

    def _listen(self, interest: int) -> None:
        if interest == self._interest:
            return
        if not interest:
            self._selector.unregister(self._socket)
        elif not self._interest:
            self._selector.register(self._socket, interest)
        else:
            self._selector.modify(self._socket, interest)
        self._interest = interest

    def flush_blocking(self, seconds: float) -> None:
        """The last word is out, or there was no room for it in so many seconds."""
        self._socket.settimeout(seconds)
        with suppress(OSError):
            self._socket.sendall(self._unsent)

    def close(self) -> None:
        """Let go of it, in a fork."""
        self._socket.close()
