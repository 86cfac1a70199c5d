"""Read and write the supervisor's ends of one executor's pipes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from orchestrator.backends import Channels
from orchestrator.logging.output_stream import OutputStream
from runtime.errors import WireError
from runtime.ipc.executor_protocol import Control, ExecutorRecord, TaskOrder, UpFrame
from runtime.ipc.frames import FrameReader, pack

READ_SIZE = 1 << 18
"""Bytes taken from a pipe at a time."""

OUTPUT_SIZE = 1 << 16
"""Bytes of output taken from a pipe at a time, and only when no line of it waits to be logged."""

STUCK_SECONDS = 5.0
"""Seconds within which a living executor finishes a frame that it has begun: the supervisor always reads."""


class ExecutorPipes:
    """Own the supervisor's ends of one executor's pipes. Never blocks; nothing that is read is executed."""

    def __init__(self, slot: int, incarnation: int, channels: Channels) -> None:
        self.slot = slot
        self.incarnation = incarnation
        self.channels = channels
        self.stderr = OutputStream(slot, "stderr", channels.key)
        self.output = {channels.stdout: OutputStream(slot, "stdout", channels.key), channels.stderr: self.stderr}
        self._reader: FrameReader[UpFrame] = FrameReader(UpFrame, key=channels.key)
        self._seq = 0
        self._unsent: deque[memoryview] = deque()
        self._open = {channels.tasks, channels.control, channels.events, channels.stdout, channels.stderr}
        self.protocol_error: str | None = None
        self.received = 0
        self._stuck = (0, 0.0)

    # -- down ---------------------------------------------------------------------------------------

    def send(self, order: TaskOrder) -> bool:
        """Write an order to the tasks pipe. Return False if it did not fit: call `flush` when the pipe is writable."""
        self._unsent.append(memoryview(pack(order, self.channels.key)))
        return self.flush()

    def flush(self) -> bool:
        """Write what waits. Return True when nothing is left to write."""
        while self._unsent:
            data = self._unsent[0]
            try:
                written = os.write(self.channels.tasks, data)
            except BlockingIOError:
                return False
            except OSError:  # the executor is gone: its exit will be reported
                self._unsent.clear()
                return True
            if written < len(data):
                self._unsent[0] = data[written:]
                return False
            self._unsent.popleft()
        return True

    def send_control(self, order: Control) -> None:
        """Write an order to the control pipe; it is small, and its reader always reads."""
        with suppress(OSError):
            os.write(self.channels.control, pack(order, self.channels.key))

    # -- up -----------------------------------------------------------------------------------------

    def read_events(self) -> tuple[list[ExecutorRecord], bool]:
        """Return the records that have arrived, and whether the pipe goes on.

        When what arrived behind them cannot be a frame, `protocol_error` says why: do not read any further.
        """
        data = self._read(self.channels.events)
        if data is None:
            return [], True
        records: list[ExecutorRecord] = []
        try:
            for frame in self._reader.feed(data):
                if frame.seq != self._seq + 1:
                    raise WireError(f"frame {frame.seq} came after frame {self._seq}")
                self._seq = frame.seq
                records.extend(frame.records)
        except WireError as error:
            self.protocol_error = str(error)
        self.received += len(data)
        return records, bool(data) and self.protocol_error is None

    @property
    def has_protocol_error(self) -> bool:
        """Whether something arrived that is no frame: do not read any further."""
        return self.protocol_error is not None

    def is_stuck(self, now: float, beat: float) -> bool:
        """Return whether a frame was begun and does not go on, although the executor lives (monotonic seconds).

        Its length was garbage that looks like a length, and swallows what the executor really sends. One that is
        stopped in the middle of a frame shows no heartbeat (`beat`), and is the watchdog's business.
        """
        if not self.partial_frame_bytes or now - beat > STUCK_SECONDS / 2 or self._stuck[0] != self.received:
            self.reset_stall_timer(now)
            return False
        return now - self._stuck[1] > STUCK_SECONDS

    def reset_stall_timer(self, now: float) -> None:
        """Count from now on: the pipe was not read."""
        self._stuck = (self.received, now)

    @property
    def partial_frame_bytes(self) -> int:
        """The bytes of a frame that was never finished."""
        return self._reader.partial_bytes

    def read_output(self, fd: int, owner: Callable[[int], int | None]) -> bool:
        """Read once from standard output or error. Return whether the pipe goes on.

        `owner` returns the task that a slot executes now, as in OutputStream.feed.
        """
        before = owner(self.slot)
        data = self._read(fd, OUTPUT_SIZE)
        if data:
            self.output[fd].feed(data, before, owner(self.slot))
        return data != b""

    def _read(self, fd: int, size: int = READ_SIZE) -> bytes | None:
        """Return what there is: None when nothing is there now, b"" at the end."""
        if fd not in self._open:
            return b""
        try:
            return os.read(fd, size)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def close(self, fd: int) -> None:
        """Close one descriptor. Safe twice."""
        if fd in self._open:
            self._open.remove(fd)
            os.close(fd)

    def close_all(self, unregister: Callable[[int], None]) -> None:
        """Close every descriptor; `unregister` is called with each one before."""
        for fd in tuple(self._open):
            unregister(fd)
            self.close(fd)
