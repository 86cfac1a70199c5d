"""Hold the undo records of the run, and run their commands, each in a fresh child with a time limit of its own.

While the supervisor lives, it decides what runs, and when. When it is dead, the guardian runs everything that is
outstanding: the records of an executor as soon as that is gone, with backoff, and until the time of the heir is over.

A record is struck out in the journal only after its command has succeeded. If the guardian dies in between, the command
runs once more, and finds nothing to remove: see docs/undo.md.
"""

from __future__ import annotations

import math
import os
import selectors
import sys
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from runtime.ipc.flag import anonymous_file
from runtime.ipc.guardian_protocol import (
    DropUndo,
    HoldUndo,
    RunUndo,
    UndoJournal,
    UndoKeptReport,
    UndoOrder,
    UndoReceipt,
    UndoReport,
)
from runtime.ipc.undo import ORDER_SECONDS, UndoResult, may_start, retry_delay
from runtime.process.undo_process import UndoProcess
from runtime.stop_limits import UNDO_TIMEOUT

NO_TIME = "the end of the run left it no more time"


class UndoRunner:
    """Used by the guardian's loop alone, which reaps its children and watches the descriptors `fds`.

    `report` sends a report to the supervisor.
    """

    def __init__(self, selector: selectors.BaseSelector, report: Callable[[UndoKeptReport | UndoReport], None]) -> None:
        self._selector = selector
        self._report = report
        self._held: dict[int, HoldUndo] = {}
        self._running: dict[int, UndoProcess] = {}
        self._is_heir = False
        self._due: dict[int, float] = {}
        self._results: dict[int, tuple[int, UndoResult]] = {}
        self._journal: UndoJournal | None = None
        self._looked_at = -math.inf

    # -- orders -------------------------------------------------------------------------------------

    def execute(self, order: UndoOrder) -> None:
        """Execute an order of the supervisor."""
        if isinstance(order, HoldUndo):
            self._held[order.number] = order
            self._report(UndoKeptReport(order.number))
        elif isinstance(order, RunUndo):
            held = self._held.get(order.number) or HoldUndo(order.number, -1, -1, order.command)
            self._held[order.number] = replace(held, tries=order.tries)
            self._start(order.number)
        elif isinstance(order, DropUndo):
            self._held.pop(order.number, None)
        else:
            self._journal = order

    def _start(self, number: int) -> None:
        held = self._held[number]
        self._due.pop(number, None)
        if any(process.number == number for process in self._running.values()):
            return
        try:
            process = UndoProcess(number, held.command, held.command.timeout or UNDO_TIMEOUT)
        except OSError as error:
            self._on_result(number, UndoResult(done=False, error=f"it cannot be started: {error.strerror or error}"))
            return
        self._running[process.pid] = process
        self._selector.register(process.fd, selectors.EVENT_READ)

    # -- their ends ---------------------------------------------------------------------------------

    def read(self, fd: int) -> bool:
        """Read what a command has written, if one writes to this descriptor. Return whether one does."""
        process = next((process for process in self._running.values() if process.fd == fd), None)
        if process is not None and not process.read():
            self._selector.unregister(fd)
        return process is not None

    @property
    def pids(self) -> Collection[int]:
        """The commands that run."""
        return self._running.keys()

    @property
    def fds(self) -> Iterable[int]:
        """The descriptors that commands write to."""
        return [process.fd for process in self._running.values()]

    def reaped(self, pid: int, status: int) -> None:
        """Note that a child was reaped, which may be a command."""
        process = self._running.pop(pid, None)
        if process is not None:
            with suppress(KeyError):
                self._selector.unregister(process.fd)
            self._on_result(process.number, process.on_exit(status))

    def _on_result(self, number: int, result: UndoResult) -> None:
        held = self._held.get(number)
        tries = 1 if held is None else held.tries
        self._results[number] = tries, result
        if result.done:
            self._held.pop(number, None)
        elif self._is_heir:
            self._due[number] = time.monotonic() + retry_delay(tries)
        self._report(UndoReport(number, result))

    @property
    def due(self) -> float | None:
        """Return when the next command is over its limit, or is to be started (monotonic seconds)."""
        times = [*(process.limit for process in self._running.values()), *self._due.values()]
        if self._due:
            times += [process.began + ORDER_SECONDS for process in self._running.values()]
        return min((time for time in times if time > self._looked_at), default=None)

    def act_on_time(self) -> None:
        """Kill the commands that are over their limits, and start those that are due: of a task, the last first."""
        self._looked_at = now = time.monotonic()
        for process in self._running.values():
            if process.limit <= now:
                process.expire()
        later: dict[int, list[float | None]] = {}
        began = {process.number: process.began for process in self._running.values()}
        for number in sorted({*self._due, *began}, reverse=True):
            of_task = later.setdefault(self._held[number].task, [])
            if number in began:
                of_task.append(began[number])
            elif self._due[number] <= now and may_start(of_task, now):
                self._try(number)
                of_task.append(now)
            elif number not in self._results:
                of_task.append(None)

    def cut_off(self) -> None:
        """Kill every command that runs: the time is over."""
        self._due.clear()
        for process in self._running.values():
            process.cut_off(NO_TIME)

    # -- without a supervisor -----------------------------------------------------------------------

    def become_heir(self) -> None:
        """Run, from now on, what is outstanding."""
        self._is_heir = True
        self._results.clear()

    def on_executor_gone(self, slot: int, incarnation: int) -> None:
        """Run the records of an executor that is gone, if there is no supervisor that decides it."""
        if self._is_heir:
            gone = (slot, incarnation)
            self._try_all(held.number for held in self._held.values() if (held.slot, held.incarnation) == gone)

    def run_all(self) -> None:
        """Run all records: no executor is left."""
        self._try_all(self._held)

    def _try_all(self, numbers: Iterable[int]) -> None:
        running = {process.number for process in self._running.values()}
        now = time.monotonic()
        self._due |= {number: now for number in numbers if number not in running and number not in self._due}
        self.act_on_time()

    def _try(self, number: int) -> None:
        held = self._held[number]
        self._held[number] = replace(held, tries=held.tries + 1)
        self._start(number)

    @property
    def is_busy(self) -> bool:
        """Whether a command runs, or is to be tried again."""
        return bool(self._running or self._due)

    def record_and_exit(self) -> None:
        """Become the program that writes the heir's results into the journal. Return if there is nothing to write."""
        if self._journal is None or not self._results:
            return
        results = [(number, tries, result) for number, (tries, result) in self._results.items()]
        receipt = msgspec.msgpack.encode(UndoReceipt(self._journal.location, self._journal.run, results))
        file = anonymous_file("quiesce-undo")
        os.write(file, receipt)
        os.lseek(file, 0, os.SEEK_SET)
        os.dup2(file, 0)
        os.closerange(3, 1 << 20)
        with suppress(OSError):
            os.execv(self._journal.argv[0], self._journal.argv)  # noqa: S606 - the supervisor's own interpreter
        sys.stderr.write("quiesce: what was undone cannot be recorded\n")
