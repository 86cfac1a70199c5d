"""The multiplexer: every executor's pipes on one selector. It reads what is ready, and never waits for a writer.

While the journal cannot keep up it is paused: nothing is read, the pipes fill, and the executors that write wait.
So a talkative agent on a slow disk costs time, and not the supervisor's memory.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.backends import Channels
from orchestrator.pipes import STUCK_SECONDS, Pipes
from runtime.wire import Control, Down, Up

LAST_READS = 16
"""Reads that empty any pipe of an executor that is gone; an orphan that still writes into it may do so for ever."""

Heard = Callable[[int, int, list[Up]], None]
"""Takes the records that a slot's incarnation sent."""

Garbled = Callable[[int, int, str], None]
"""Is told once that a slot's incarnation sent what is no frame, and why."""

Line = Callable[[int, str, str], None]
"""Takes a slot's line on `stdout` or `stderr`."""


@dataclass(frozen=True, slots=True)
class Buried:
    """Bytes of a frame that an executor did not finish, and the last line that it wrote on standard error."""

    torn: int = 0
    last_line: str = ""


class Mux:
    """One `Pipes` a slot. What it hears goes to its three listeners, in the order in which it came."""

    def __init__(self, selector: selectors.BaseSelector, heard: Heard, garbled: Garbled, line: Line) -> None:
        self._selector = selector
        self._heard = heard
        self._garbled = garbled
        self._line = line
        self._pipes: dict[int, Pipes] = {}
        self._taken = 0
        self.paused = False

    @property
    def slots(self) -> Mapping[int, int]:
        """The slots that have pipes, and which incarnation they belong to."""
        return {slot: pipes.incarnation for slot, pipes in self._pipes.items()}

    def open(self, slot: int, incarnation: int, channels: Channels) -> None:
        """A new executor's pipes."""
        if (old := self._pipes.pop(slot, None)) is not None:  # abandoned: not even SIGKILL ended it in time
            old.close_all(self._forget)
        pipes = self._pipes[slot] = Pipes(slot, incarnation, channels)
        if not self.paused:
            self._listen(pipes)
        for fd in pipes.output:
            self._selector.register(fd, selectors.EVENT_READ, lambda fd=fd: self._on_output(pipes, fd))

    def _listen(self, pipes: Pipes) -> None:
        self._selector.register(pipes.channels.events, selectors.EVENT_READ, lambda: self._on_events(pipes))

    def _forget(self, fd: int) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(fd)

    # -- down ---------------------------------------------------------------------------------------

    def send(self, slot: int, order: Down) -> None:
        """Put an order on the tasks pipe, now or when there is room."""
        pipes = self._pipes.get(slot)
        if pipes is not None and not pipes.send(order):
            with suppress(KeyError):
                self._selector.get_key(pipes.channels.tasks)
                return
            self._selector.register(pipes.channels.tasks, selectors.EVENT_WRITE, lambda: self._on_writable(pipes))

    def _on_writable(self, pipes: Pipes) -> None:
        if pipes.flush():
            self._forget(pipes.channels.tasks)

    def send_control(self, slot: int, order: Control) -> None:
        """Put an order on the control pipe."""
        pipes = self._pipes.get(slot)
        if pipes is not None:
            pipes.send_control(order)

    # -- up -----------------------------------------------------------------------------------------

    def _on_events(self, pipes: Pipes) -> bool:
        """Read once. Whether the pipe goes on."""
        if pipes.is_garbled:
            return False
        before = pipes.received
        records, goes_on = pipes.read_events()
        self._taken += pipes.received - before
        if records:
            self._heard(pipes.slot, pipes.incarnation, records)
        if not goes_on:
            self._forget(pipes.channels.events)
        if pipes.garbage is not None:
            self._garbled(pipes.slot, pipes.incarnation, pipes.garbage)
        return goes_on

    def _on_output(self, pipes: Pipes, fd: int) -> bool:
        lines, goes_on = pipes.read_output(fd)
        self._say(pipes, fd, lines)
        if not goes_on:
            self._forget(fd)
        return goes_on

    def _say(self, pipes: Pipes, fd: int, lines: Sequence[str]) -> None:
        for line in lines:
            if fd == pipes.channels.stderr and line.strip():
                pipes.last_line = line
            self._line(pipes.slot, pipes.output[fd].name, line)

    def look_for_stuck(self, now: float, beats: Sequence[float]) -> None:
        """Whose frame was begun and does not go on has garbage in its pipe. `beats`: each slot's last sign of life."""
        for slot, pipes in list(self._pipes.items()):
            if self.paused:
                pipes.excuse(now)
            elif not pipes.is_garbled and pipes.is_stuck(now, beats[slot]):
                pipes.garbage = f"it began a frame and did not finish it within {STUCK_SECONDS:g} s"
                self._forget(pipes.channels.events)
                self._garbled(slot, pipes.incarnation, pipes.garbage)

    # -- back-pressure ------------------------------------------------------------------------------

    def taken(self) -> int:
        """Bytes of events that were read since the last call."""
        taken, self._taken = self._taken, 0
        return taken

    def pause(self) -> None:
        """Read no more events for now. (Standard output and error go to the log, not into the journal.)"""
        self.paused = True
        for pipes in self._pipes.values():
            self._forget(pipes.channels.events)

    def go_on(self) -> None:
        """Read again."""
        self.paused = False
        for pipes in self._pipes.values():
            if not pipes.is_garbled:
                self._listen(pipes)

    # -- the end ------------------------------------------------------------------------------------

    def bury(self, slot: int, incarnation: int) -> Buried:
        """An executor is gone: take what it had still said, and close."""
        pipes = self._pipes.get(slot)
        if pipes is None or pipes.incarnation != incarnation:
            return Buried()
        for _ in range(LAST_READS):
            if not self._on_events(pipes):
                break
        for fd, lines in pipes.output.items():
            for _ in range(LAST_READS):
                if not self._on_output(pipes, fd):
                    break
            self._say(pipes, fd, lines.feed(b""))  # an orphan may hold the pipe open, but its last line is over
        del self._pipes[slot]
        pipes.close_all(self._forget)
        return Buried(pipes.torn, pipes.last_line)

    def close(self) -> None:
        """Let go of every pipe."""
        for pipes in self._pipes.values():
            pipes.close_all(self._forget)
        self._pipes.clear()
