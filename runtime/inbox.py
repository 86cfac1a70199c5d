"""The executor's end of the tasks pipe: what was given and has not begun."""

from __future__ import annotations

import errno
import os
import threading
from collections import deque

from runtime.wire import Down, FrameReader, Hire, Retire, Task, Tasks

_CHUNK = 1 << 18


class Inbox:
    """Orders in the order they came. The main thread takes; the control thread may revoke from the end."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        os.set_blocking(fd, False)
        self._reader: FrameReader[Down] = FrameReader(Down)
        self._orders: deque[Hire | Task | Retire] = deque()
        self._lock = threading.Lock()
        self.closed = False

    def fill(self) -> None:
        """Take in what lies in the pipe, without waiting. At the pipe's end, `closed` becomes true."""
        with self._lock:
            self._fill()

    def _fill(self) -> None:
        while True:
            try:
                data = os.read(self.fd, _CHUNK)
            except BlockingIOError:
                return
            except OSError as error:  # the agent closed our descriptors
                if error.errno != errno.EBADF:
                    raise
                data = b""
            if not data:
                self.closed = True
                return
            for order in self._reader.feed(data):
                if isinstance(order, Tasks):
                    self._orders.extend(order.tasks)
                else:
                    self._orders.append(order)
            if len(data) < _CHUNK:
                return

    def take(self) -> Hire | Task | Retire | None:
        """The next order, None when there is none."""
        try:
            return self._orders.popleft()
        except IndexError:
            return None

    def peek(self) -> Hire | Task | Retire | None:
        """The next order, left where it is."""
        return self._orders[0] if self._orders else None

    def revoke(self, count: int) -> list[int]:
        """Take back up to `count` tasks that have not begun, the last ones first. From any thread."""
        taken: list[int] = []
        with self._lock:
            self._fill()
            kept: list[Hire | Task | Retire] = []
            while len(taken) < count:
                try:
                    order = self._orders.pop()
                except IndexError:
                    break
                if isinstance(order, Task):
                    taken.append(order.task)
                else:
                    kept.append(order)
            self._orders.extend(reversed(kept))
        return taken

    def __len__(self) -> int:
        return len(self._orders)
