"""The executor's ends of its pipes, for threads of a test instead of a process."""

from __future__ import annotations

import os
import secrets
import select
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from orchestrator.backends import Channels
from runtime.ipc.executor_protocol import Control, ExecutorRecord, TaskOrder, UpFrame
from runtime.ipc.frames import FrameReader, pack

_READ_SIZE = 1 << 18


class FakeExecutorPipes:
    """Own the executor's ends: the reading thread has `orders`, the worker the rest. Any thread may write."""

    def __init__(self) -> None:
        """Make the pipes. Raises OSError."""
        self._key = secrets.randbits(32)
        tasks, control, events, stdout, stderr, wake = (os.pipe() for _ in range(6))
        for fd in (tasks[1], events[0], stdout[0], stderr[0]):
            os.set_blocking(fd, False)
        self.channels = Channels(tasks[1], control[1], events[0], stdout[0], stderr[0], self._key)
        """The supervisor's ends."""
        self._tasks_fd, self._control_fd, self._events_fd = tasks[0], control[0], events[1]
        self._output = {"stdout": stdout[1], "stderr": stderr[1]}
        self._wake_read, self._wake_write = wake
        self._write_lock = threading.Lock()
        self._wake_lock = threading.Lock()
        self._frames = 0
        self.is_cut = False
        """Whether nothing that is sent is heard any more: the executor was killed."""

    def orders(self) -> Iterator[TaskOrder | Control | None]:
        """Yield orders until `wake` is called; None is the last if the supervisor is gone. Closes what it reads."""
        readers: dict[int, FrameReader[Any]] = {
            self._tasks_fd: FrameReader(TaskOrder, key=self._key),
            self._control_fd: FrameReader(Control, key=self._key),
        }
        poll = select.poll()
        for fd in (*readers, self._wake_read):
            poll.register(fd, select.POLLIN)
        while readers:
            ready = [fd for fd, _ in poll.poll()]
            if self._wake_read in ready:
                break
            for fd in ready:
                data = os.read(fd, _READ_SIZE)
                yield from readers[fd].feed(data)
                if not data:
                    poll.unregister(fd)
                    del readers[fd]
        if not readers:
            yield None
        for fd in (self._tasks_fd, self._control_fd, self._wake_read):
            os.close(fd)

    def wake(self) -> None:
        """End `orders`."""
        with self._wake_lock, suppress(BrokenPipeError):  # the reader may have ended
            if self._wake_write >= 0:
                os.write(self._wake_write, b"!")

    def send(self, record: ExecutorRecord) -> None:
        """Send one record up; blocks while the pipe is full. Raises BrokenPipeError when the executor was killed."""
        with self._write_lock:
            if self.is_cut:
                raise BrokenPipeError
            self._frames += 1
            data = pack(UpFrame(self._frames, [record]), self._key)
            while data:
                data = data[os.write(self._events_fd, data) :]

    def send_bytes(self, data: bytes) -> None:
        """Write bytes into the event pipe that are no frame."""
        with self._write_lock:
            os.write(self._events_fd, data)

    def write_output(self, stream: str, data: bytes) -> None:
        """Write to `stdout` or `stderr`. Blocks while the pipe is full; OSError if the other end is closed."""
        while data:
            data = data[os.write(self._output[stream], data) :]

    def close(self) -> None:
        """Close what is written to, and end `orders`."""
        self.wake()
        with self._write_lock, self._wake_lock:
            for fd in (self._events_fd, self._wake_write, *self._output.values()):
                os.close(fd)
            self._wake_write = -1
