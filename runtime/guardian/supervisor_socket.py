"""The guardian's end of the socket to the supervisor: orders in, with descriptors, and reports out.

The supervisor blocks while it writes an order, so the guardian must never block while it writes a report: with hundreds
of executors both would wait with full sockets. What does not fit is kept, and sent when there is room.
"""

from __future__ import annotations

import selectors
import socket
from contextlib import suppress

from runtime.ipc.frames import HEADER_SIZE, FrameReader, pack
from runtime.ipc.guardian_protocol import FDS_PER_EXECUTOR, Order, Report


class SupervisorSocket:
    """The socket to the supervisor, registered with the guardian's selector."""

    def __init__(self, fd: int, selector: selectors.BaseSelector) -> None:
        self._socket = socket.socket(fileno=fd)
        self._selector = selector
        self._reader: FrameReader[Order] = FrameReader(Order)
        self._unsent = bytearray()
        self.is_connected = True
        self._interest = selectors.EVENT_READ
        selector.register(self._socket, self._interest)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def read(self) -> tuple[list[Order], list[int]] | None:
        """Return one frame's orders and the descriptors that came with it, or None if the supervisor is gone."""
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, HEADER_SIZE, FDS_PER_EXECUTOR)
            if len(data) == HEADER_SIZE:
                data += self._rest(int.from_bytes(data[:4], "little"))
        except OSError:
            return None
        return None if len(data) < HEADER_SIZE else (list(self._reader.feed(data)), fds)

    def _rest(self, want: int) -> bytes:
        """Read exactly the rest of the frame, so that descriptors never belong to a later frame."""
        parts: list[bytes] = []
        while want > 0:
            part = self._socket.recv(want)
            if not part:
                raise OSError("the supervisor's socket ended inside a frame")
            parts.append(part)
            want -= len(part)
        return b"".join(parts)

    def disconnect(self) -> None:
        """Drop what is unsent and stop using the socket: the supervisor is gone."""
        self.is_connected = False
        self._unsent.clear()
        self._listen(0)

    def report(self, report: Report) -> None:
        """Send a report now, or as soon as there is room; nothing after `disconnect`."""
        if not self.is_connected:
            return
        self._unsent += pack(report)
        self.flush()

    def flush(self) -> None:
        """Write what there is room for. `read` notices a dead supervisor."""
        try:
            del self._unsent[: self._socket.send(self._unsent, socket.MSG_DONTWAIT)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()
        self._listen(self._interest & ~selectors.EVENT_WRITE | (selectors.EVENT_WRITE if self._unsent else 0))

    def stop_reading(self) -> None:
        """Read no more orders; unsent reports still go out."""
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
        """Write all that is unsent, waiting at most so many seconds for room."""
        self._socket.settimeout(seconds)
        with suppress(OSError):
            self._socket.sendall(self._unsent)

    def close(self) -> None:
        """Close the socket, in a forked executor."""
        self._socket.close()
