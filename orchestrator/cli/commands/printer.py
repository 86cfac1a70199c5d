"""Print what commands wrote, each as a whole and once it has ended, on a thread of its own.

As GNU parallel does by default: the output of two commands is never mixed. A reader that is gone ends the printing, and
nothing else.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import BinaryIO, Final

from orchestrator.cli.commands.ended_command import EndedCommand, read_ended
from orchestrator.cli.commands.joblog import JobLog
from orchestrator.core.records import TERMINAL, TaskOutcome
from runtime.text import single_line

_CHUNK: Final = 1 << 18
_STREAMS: Final = (("stdout", 1), ("stderr", 2))
_LONGEST_TAG: Final = 1000


class CommandPrinter:
    """Print ended commands and log them as jobs. Any thread may call `put`; it never waits.

    ended: the numbers of tasks that an earlier start has printed; needed to keep the order. around: entered while
    something is printed, so that a live display makes room.
    """

    def __init__(
        self,
        *,
        is_printing: bool,
        keep_order: bool,
        tag: bool,
        joblog: JobLog | None,
        around: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._is_printing = is_printing
        self._tag = tag
        self._joblog = joblog
        self._around = around
        self._order = TaskOrder() if keep_order else None
        self._queue: queue.SimpleQueue[Sequence[TaskOutcome] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="quiesce-commands", daemon=True)
        self._gone: set[int] = set()

    def start(self, ended: Collection[int] = ()) -> None:
        """Start the thread."""
        if self._order is not None:
            self._order.skip(ended)
        self._thread.start()

    def put(self, outcomes: Sequence[TaskOutcome]) -> None:
        """Take outcomes that have just been committed."""
        self._queue.put(outcomes)

    def finish(self, seconds: float | None) -> None:
        """Print what is left, and wait for that so long at most (None: until it is printed)."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(seconds)

    # -- on the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while (outcomes := self._queue.get()) is not None:
            for outcome in outcomes:
                if outcome.status in TERMINAL:
                    self._take(outcome)
        for outcome in self._order.rest() if self._order is not None else ():
            self._print(outcome)
        if self._joblog is not None:
            self._joblog.close()

    def _take(self, outcome: TaskOutcome) -> None:
        if self._joblog is not None:  # in the order of their ends, as GNU parallel's
            self._joblog.write(outcome)
        for next_one in [outcome] if self._order is None else self._order.add(outcome):
            self._print(next_one)

    def _print(self, outcome: TaskOutcome) -> None:
        ended = read_ended(outcome) if self._is_printing else None
        if ended is None or not (ended.stdout_bytes or ended.stderr_bytes):
            return
        with self._around():
            for name, fd in _STREAMS:
                for data in self._pieces(ended, name, outcome.key):
                    self._write(fd, data)

    def _pieces(self, ended: EndedCommand, name: str, key: str) -> Iterator[bytes]:
        path = ended.stdout_file if name == "stdout" else ended.stderr_file
        text = ended.stdout if name == "stdout" else ended.stderr
        if path is None:
            pieces: Iterator[bytes] = iter([text.encode("utf-8", "backslashreplace")])
            yield from _tagged(pieces, key) if self._tag else pieces
            return
        with suppress(OSError), open(path, "rb") as file:
            os.unlink(path)
            yield from _tagged(_read(file), key) if self._tag else _read(file)

    def _write(self, fd: int, data: bytes) -> None:
        view = memoryview(data)
        while view and fd not in self._gone:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                threading.Event().wait(0.01)  # another process made the open file non-blocking
            except OSError:
                self._gone.add(fd)


class TaskOrder:
    """Put outcomes into the order of their tasks' numbers, which have no gaps."""

    def __init__(self) -> None:
        self._next = 1
        self._waiting: dict[int, TaskOutcome] = {}
        self._ended: set[int] = set()

    def skip(self, ended: Collection[int]) -> None:
        """Note tasks that had ended before."""
        self._ended.update(ended)
        self._advance()

    def add(self, outcome: TaskOutcome) -> list[TaskOutcome]:
        """Return the outcomes whose turn it is."""
        self._waiting[outcome.seq] = outcome
        turn: list[TaskOutcome] = []
        while self._next in self._waiting:
            turn.append(self._waiting.pop(self._next))
            self._next += 1
            self._advance()
        return turn

    def rest(self) -> list[TaskOutcome]:
        """Return those that still wait for one before them, in order."""
        return [self._waiting[seq] for seq in sorted(self._waiting)]

    def _advance(self) -> None:
        while self._next in self._ended:
            self._ended.discard(self._next)
            self._next += 1


def _read(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(_CHUNK):
        yield data


def _tagged(pieces: Iterator[bytes], key: str) -> Iterator[bytes]:
    """Put the tag before each line."""
    tag = f"{single_line(key, _LONGEST_TAG)}\t".encode("utf-8", "backslashreplace")
    is_new = True
    for data in pieces:
        lines = _lines(data)
        for number, line in enumerate(lines):
            yield (tag if number or is_new else b"") + line
        is_new = data.endswith(b"\n")


def _lines(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    return [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
