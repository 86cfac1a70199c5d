"""The executor's end of the tasks pipe: orders that were received and have not begun."""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable

from runtime.errors import WireError
from runtime.ipc.executor_protocol import Drop, FinishAndExit, LoadAgent, Task, TaskOrder, Tasks
from runtime.ipc.frames import FrameReader

_CHUNK = 1 << 18

Order = LoadAgent | Drop | Task | FinishAndExit


class Inbox:
    """A queue of orders. The main thread takes them; the control thread may take back tasks that have not begun.

    `on_garbage` is called with what was wrong when what arrived is no frame of this pipe; it must not return.
    """

    def __init__(self, fd: int, key: int = 0, on_garbage: Callable[[str], None] | None = None) -> None:
        self.fd = fd
        os.set_blocking(fd, False)
        self._reader: FrameReader[TaskOrder] = FrameReader(TaskOrder, key=key)
        self._on_garbage = on_garbage
        self._orders: deque[Order] = deque()
        self._in_hand: dict[int, Task] = {}
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
            self._accept(data)
            if len(data) < _CHUNK:
                return

    def _accept(self, data: bytes) -> None:
        try:
            for order in self._reader.feed(data):
                if isinstance(order, Tasks):
                    self._orders.extend(order.tasks)
                else:
                    self._orders.append(order)
        except WireError as error:
            if self._on_garbage is None:
                raise
            self._on_garbage(str(error))

    def take(self) -> Order | None:
        """Return the next order, or None. A task counts as running until `finish`."""
        with self._lock:
            if not self._orders:
                return None
            order = self._orders.popleft()
            if isinstance(order, Task):
                self._in_hand[order.task] = order
            return order

    def push_back(self, order: Order) -> None:
        """Put an order back: `take` returns it next."""
        with self._lock:
            self._orders.appendleft(order)
            if isinstance(order, Task):
                del self._in_hand[order.task]

    def finish(self, task: int) -> None:
        """Note that a task has ended."""
        with self._lock:
            self._in_hand.pop(task, None)

    def revoke(self, count: int) -> list[int]:
        """Take back up to `count` tasks that have not begun, the last ones first. From any thread."""
        taken: list[int] = []
        with self._lock:
            self._fill()
            kept: list[Order] = []
            while self._orders and len(taken) < count:
                order = self._orders.pop()
                if isinstance(order, Task):
                    taken.append(order.task)
                else:
                    kept.append(order)
            self._orders.extend(reversed(kept))
        return taken

    def cancel(self, task: int, attempt: int) -> bool:
        """Remove one task before it begins. From any thread. Return False if it runs, is over, or is still to come."""
        with self._lock:
            self._fill()
            attempts = (order for order in self._orders if isinstance(order, Task) and order.task == task)
            order_of_attempt = next((order for order in attempts if order.attempt == attempt), None)
            if order_of_attempt is not None:
                self._orders.remove(order_of_attempt)
            return order_of_attempt is not None

    def in_progress(self, task: int, attempt: int) -> Task | None:
        """Return the order of a running task, or None."""
        order = self._in_hand.get(task)
        return order if order is not None and order.attempt == attempt else None

    def __len__(self) -> int:
        return len(self._orders)
