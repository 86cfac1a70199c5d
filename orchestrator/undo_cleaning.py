"""Run undo commands outside of a run, for `quiesce clean`: what a power cut, a kill or a stop has left."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from orchestrator.core.undo_records import UndoRecord, UndoState, UndoUpdate, state_after
from orchestrator.journal import Journal
from runtime.ipc.undo import UndoResult, may_start, retry_delay
from runtime.process.undo_process import UndoProcess
from runtime.stop_limits import UNDO_TIMEOUT

AT_ONCE = 8
"""Commands that run at once."""

LOOK_SECONDS = 0.02
"""Seconds between two looks at whether one of them has ended."""

Report = Callable[[UndoRecord, UndoResult], None]
"""Take a record, with its tries so far, and how the last start of its command ended."""


class UndoCleaner:
    """Run the commands of records, each `tries` times at most. The caller has locked the run."""

    def __init__(self, journal: Journal, run: int, report: Report, tries: int = 3) -> None:
        self._journal = journal
        self._run = run
        self._report = report
        self._tries = tries
        self._waiting: list[tuple[float, int, UndoRecord]] = []
        self._running: dict[UndoProcess, tuple[UndoRecord, int]] = {}
        self._left: list[UndoRecord] = []

    def clean(self, records: Sequence[UndoRecord]) -> list[UndoRecord]:
        """Run them, and return those that are still outstanding. Blocking; each start has a time limit."""
        self._waiting = [(0.0, 1, record) for record in records]
        while self._waiting or self._running:
            self._start_due()
            self._wait()
            for process in [process for process in self._running if process.limit <= time.monotonic()]:
                process.expire()
            self._collect()
        return self._left

    def _start_due(self) -> None:
        """Start what is due, of a task the last first. Of records with the same command one runs at a time."""
        now, busy = time.monotonic(), [record.command.argv for record, _ in self._running.values()]
        later: dict[tuple[int, int], list[float | None]] = {}
        began = {record.number: process.began for process, (record, _) in self._running.items()}
        waiting = {record.number: (due_at, attempt, record) for due_at, attempt, record in self._waiting}
        records = [record for record, _ in self._running.values()] + [record for *_, record in waiting.values()]
        for record in sorted(records, key=lambda record: record.number, reverse=True):
            of_task = later.setdefault((record.task, record.attempt), [])
            if record.number in began:
                of_task.append(began[record.number])
                continue
            due_at, attempt, _ = waiting[record.number]
            is_free = len(self._running) < AT_ONCE and record.command.argv not in busy
            if due_at <= now and is_free and may_start(of_task, now):
                self._waiting.remove(waiting[record.number])
                busy.append(record.command.argv)
                of_task.append(now)
                self._start(record, attempt)
            elif attempt == 1:
                of_task.append(None)

    def _start(self, record: UndoRecord, attempt: int) -> None:
        record = replace(record, tries=record.tries + 1)
        self._update(record, UndoState.RUNNING)
        try:
            process = UndoProcess(record.number, record.command, record.command.timeout or UNDO_TIMEOUT)
        except OSError as error:
            self._conclude(record, attempt, UndoResult(done=False, error=f"it cannot be started: {error.strerror}"))
        else:
            self._running[process] = record, attempt

    def _wait(self) -> None:
        """Read what the commands write, for a moment."""
        readable, _, _ = select.select([process.fd for process in self._running], [], [], LOOK_SECONDS)
        ended = False
        for process in self._running:
            if process.fd in readable:
                ended |= not process.read()
        if ended:  # it is about to exit, or has closed its output: do not spin
            time.sleep(LOOK_SECONDS)

    def _collect(self) -> None:
        for process, (record, attempt) in tuple(self._running.items()):
            pid, status = os.waitpid(process.pid, os.WNOHANG)
            if pid:
                del self._running[process]
                self._conclude(record, attempt, process.on_exit(status))

    def _conclude(self, record: UndoRecord, attempt: int, result: UndoResult) -> None:
        self._update(record, state_after(result), result.error or None)
        self._report(record, result)
        if result.done:
            return
        if attempt < self._tries:
            self._waiting.append((time.monotonic() + retry_delay(attempt), attempt + 1, record))
        else:
            self._left.append(record)

    def _update(self, record: UndoRecord, state: UndoState, error: str | None = None) -> None:
        self._journal.update_undo(self._run, [UndoUpdate(record.number, state, record.tries, time.time(), error)])
