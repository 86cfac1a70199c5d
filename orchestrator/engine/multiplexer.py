"""Multiplex the pipes of all executors on one selector: read what is ready, never wait for a writer.

While the journal cannot keep up it is paused: nothing is read, the pipes fill, and the executors that write wait.
So a talkative agent on a slow disk costs time, and not the supervisor's memory. Output is likewise read no faster than
it is logged: a turn of the loop logs so many lines and bytes, in turn for all executors that have some. Once a stop has
begun, each stream has an allowance, and what goes beyond it is read and counted (output_stream.py).
"""

from __future__ import annotations

import selectors
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from orchestrator.backends import Channels
from orchestrator.core.output import OutputLine
from orchestrator.engine.executor_pipes import STUCK_SECONDS, ExecutorPipes
from orchestrator.logging.output_stream import Lost, OutputStream
from runtime.ipc.executor_protocol import Control, ExecutorRecord, TaskOrder

LAST_READS = 16
"""Reads that empty any pipe of an executor that is gone; an orphan may write into it for ever."""

TURN_EVENTS = 1 << 18
"""Bytes of events that a turn of the loop takes, of all executors together, but for the rest of the last read."""

RECORD_WEIGHT = 256
"""Bytes that count for a record besides its own: to decode and keep a small one costs as much as these."""

TURN_LINES, TURN_BYTES = 256, 1 << 18
"""Lines and bytes of output that a turn of the loop logs, of all executors together: a few milliseconds' work."""

ROUND_LINES = 32
"""Lines of one stream that are logged before the next one has its turn."""

STOP_LINES, STREAM_LINES = 4096, 16
STOP_BYTES, STREAM_BYTES = 4 << 20, 1 << 13
"""Lines and bytes of output that a stop logs: in all, and of each stream at least."""

FrameRecords = Callable[[int, int, list[ExecutorRecord]], None]
"""Take the records that a slot's incarnation sent."""

InvalidFrame = Callable[[int, int, str], None]
"""Take the reason why what a slot's incarnation sent is no frame. Called once."""


class OutputListener(Protocol):
    """Takes what executors write to `stdout` and `stderr`."""

    def owner(self, slot: int) -> int | None:
        """Return the task that a slot executes, 0 if there is none, None if there are several."""
        ...

    def take_line(self, slot: int, stream: str, line: OutputLine) -> None:
        """Take a line."""
        ...

    def take_loss(self, slot: int, stream: str, lost: Lost) -> None:
        """Take the count of what was not logged."""
        ...

    def remember_tasks(self, slot: int) -> None:
        """Note the tasks of an executor that is gone: lines of them still wait."""
        ...


@dataclass(frozen=True, slots=True)
class DrainResult:
    """Hold the bytes of a frame that an executor did not finish, and its last line on standard error."""

    torn: int = 0
    last_line: str = ""


class PipeMultiplexer:
    """Own one `ExecutorPipes` a slot, and call its listeners with what arrives, in order."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        on_records: FrameRecords,
        on_invalid_frame: InvalidFrame,
        output: OutputListener,
    ) -> None:
        self._selector = selector
        self._on_records = on_records
        self._on_invalid_frame = on_invalid_frame
        self._output = output
        self._pipes: dict[int, ExecutorPipes] = {}
        self._taken = 0
        self._readable: OrderedDict[ExecutorPipes, None] = OrderedDict()
        self._waiting: OrderedDict[OutputStream, ExecutorPipes] = OrderedDict()
        self._is_output_limited = False
        self.is_output_paused = False
        self.paused = False

    @property
    def slots(self) -> Mapping[int, int]:
        """The incarnation of each slot that has pipes."""
        return {slot: pipes.incarnation for slot, pipes in self._pipes.items()}

    def open(self, slot: int, incarnation: int, channels: Channels) -> None:
        """Take over the pipes of a new executor."""
        if (old := self._pipes.pop(slot, None)) is not None:  # abandoned: not even SIGKILL ended it in time
            old.close_all(self._unregister)
        pipes = self._pipes[slot] = ExecutorPipes(slot, incarnation, channels)
        if not self.paused:
            self._register(pipes)
        if not self.is_output_paused:
            self._listen_to_output(pipes)

    def _listen_to_output(self, pipes: ExecutorPipes) -> None:
        registered = self._selector.get_map()
        for fd, stream in pipes.output.items():
            if fd not in registered and stream not in self._waiting and not stream.is_over:
                self._selector.register(fd, selectors.EVENT_READ, lambda fd=fd: self._on_output(pipes, fd))

    def _register(self, pipes: ExecutorPipes) -> None:
        self._selector.register(pipes.channels.events, selectors.EVENT_READ, lambda: self._note_events(pipes))

    def _unregister(self, fd: int) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(fd)

    # -- down ---------------------------------------------------------------------------------------

    def send(self, slot: int, order: TaskOrder) -> None:
        """Write an order to the tasks pipe, now or when there is room."""
        pipes = self._pipes.get(slot)
        if pipes is not None and not pipes.send(order):
            with suppress(KeyError):
                self._selector.get_key(pipes.channels.tasks)
                return
            self._selector.register(pipes.channels.tasks, selectors.EVENT_WRITE, lambda: self._on_writable(pipes))

    def _on_writable(self, pipes: ExecutorPipes) -> None:
        if pipes.flush():
            self._unregister(pipes.channels.tasks)

    def send_control(self, slot: int, order: Control) -> None:
        """Write an order to the control pipe."""
        pipes = self._pipes.get(slot)
        if pipes is not None:
            pipes.send_control(order)

    # -- up -----------------------------------------------------------------------------------------

    def _note_events(self, pipes: ExecutorPipes) -> None:
        self._readable[pipes] = None  # one that waits already keeps its place

    def read_events(self) -> None:
        """Read from the pipes that have something, in turn."""
        end = self._taken + TURN_EVENTS
        while self._readable and self._taken < end:
            pipes, _ = self._readable.popitem(last=False)
            if self._pipes.get(pipes.slot) is pipes:
                self._on_events(pipes)

    def _on_events(self, pipes: ExecutorPipes) -> bool:
        """Read once. Return whether the pipe goes on."""
        if pipes.has_protocol_error:
            return False
        before = pipes.received
        records, goes_on = pipes.read_events()
        self._taken += pipes.received - before + RECORD_WEIGHT * len(records)
        if records:
            self._on_records(pipes.slot, pipes.incarnation, records)
        if not goes_on:
            self._unregister(pipes.channels.events)
        if pipes.protocol_error is not None:
            self._on_invalid_frame(pipes.slot, pipes.incarnation, pipes.protocol_error)
        return goes_on

    # -- output -------------------------------------------------------------------------------------

    def _on_output(self, pipes: ExecutorPipes, fd: int) -> bool:
        """Read once. Return whether the pipe goes on. While lines of it wait it is not read again."""
        goes_on = pipes.read_output(fd, self._output.owner)
        if pipes.output[fd].has_lines:
            self._waiting[pipes.output[fd]] = pipes
            self._unregister(fd)
        if not goes_on:
            pipes.output[fd].is_over = True
            self._unregister(fd)
        return goes_on

    @property
    def has_output(self) -> bool:
        """Whether `show_output` has something to do."""
        return bool(self._waiting)

    def show_output(self) -> None:
        """Log some of the lines that wait, in turn for all streams that have some."""
        lines_left, bytes_left = TURN_LINES, TURN_BYTES
        while self._waiting and lines_left > 0 and bytes_left > 0:
            stream, pipes = self._waiting.popitem(last=False)
            lines, size = self._show(stream, min(ROUND_LINES, lines_left))
            lines_left -= lines
            bytes_left -= size
            if stream.has_lines:
                self._waiting[stream] = pipes
            elif not self.is_output_paused and self._pipes.get(pipes.slot) is pipes:
                self._listen_to_output(pipes)

    def _show(self, stream: OutputStream, count: int) -> tuple[int, int]:
        lines, size = stream.take(count)
        for line in lines:
            self._output.take_line(stream.slot, stream.name, line)
        return len(lines), size

    def pause_output(self) -> None:
        """Stop reading output: executors that write wait."""
        self.is_output_paused = True
        for pipes in self._pipes.values():
            for fd in pipes.output:
                self._unregister(fd)

    def resume_output(self) -> None:
        """Read output again."""
        self.is_output_paused = False
        for pipes in self._pipes.values():
            self._listen_to_output(pipes)

    def limit_output(self) -> None:
        """Read everything from now on and log some of it: a stop has begun."""
        if self._is_output_limited:
            return
        self._is_output_limited = True
        streams = {stream for pipes in self._pipes.values() for stream in pipes.output.values()} | set(self._waiting)
        for stream in streams:
            stream.limit(max(STREAM_LINES, STOP_LINES // len(streams)), max(STREAM_BYTES, STOP_BYTES // len(streams)))
        if self.is_output_paused:
            self.resume_output()

    def _end_output(self, stream: OutputStream, pipes: ExecutorPipes) -> None:
        """End a stream whose pipe is closed; its last lines are logged in this turn and the next ones."""
        lost = stream.end()
        if lost is not None:
            self._output.take_loss(stream.slot, stream.name, lost)
        if stream.has_lines:
            self._waiting[stream] = pipes

    def abandon_output(self) -> None:
        """Log no more lines, but how many there were."""
        while self._waiting:
            stream, _ = self._waiting.popitem()
            if (lost := stream.abandon()) is not None:
                self._output.take_loss(stream.slot, stream.name, lost)

    def check_stalled_frames(self, now: float, beats: Sequence[float]) -> None:
        """Report a frame that was begun and does not go on: there is garbage in its pipe. `beats`: last heartbeats."""
        for slot, pipes in list(self._pipes.items()):
            if self.paused:
                pipes.reset_stall_timer(now)
            elif not pipes.has_protocol_error and pipes.is_stuck(now, beats[slot]):
                pipes.protocol_error = f"it began a frame and did not finish it within {STUCK_SECONDS:g} s"
                self._unregister(pipes.channels.events)
                self._on_invalid_frame(slot, pipes.incarnation, pipes.protocol_error)

    # -- back-pressure ------------------------------------------------------------------------------

    def take_byte_count(self) -> int:
        """Return the weight of the events read since the last call: their bytes, and RECORD_WEIGHT for each record."""
        taken, self._taken = self._taken, 0
        return taken

    def pause(self) -> None:
        """Stop reading events. Standard output and error go on: they go to the log, not into the journal."""
        self.paused = True
        self._readable.clear()
        for pipes in self._pipes.values():
            self._unregister(pipes.channels.events)

    def resume_reading(self) -> None:
        """Read events again."""
        self.paused = False
        for pipes in self._pipes.values():
            if not pipes.has_protocol_error:
                self._register(pipes)

    # -- the end ------------------------------------------------------------------------------------

    def drain_and_close(self, slot: int, incarnation: int) -> DrainResult:
        """Read what an executor that is gone has left in its pipes, and close them."""
        pipes = self._pipes.get(slot)
        if pipes is None or pipes.incarnation != incarnation:
            return DrainResult()
        for _ in range(LAST_READS):
            if not self._on_events(pipes):
                break
        self._output.remember_tasks(slot)
        for fd, stream in pipes.output.items():
            for _ in range(LAST_READS):
                if not pipes.read_output(fd, self._output.owner):
                    break
            self._end_output(stream, pipes)  # an orphan may hold the pipe open, but its last line is over
        last_line = pipes.stderr.last_line
        del self._pipes[slot]
        pipes.close_all(self._unregister)
        self.show_output()
        return DrainResult(pipes.partial_frame_bytes, last_line)

    def close(self) -> None:
        """Close every pipe."""
        for pipes in self._pipes.values():
            pipes.close_all(self._unregister)
        self._pipes.clear()
        self._readable.clear()
