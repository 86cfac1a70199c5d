"""Record how a run ended, and close its store: the last that is written of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.core.records import RunEvent
from orchestrator.core.status import StatusView
from orchestrator.engine.journal_contention import CONTENTION_LIMIT
from orchestrator.engine.signals import SignalPipe
from orchestrator.engine.task_store import TaskStore
from orchestrator.journal import Journal, RunRecord, wait_at_most
from orchestrator.run_result import RunResult
from runtime.errors import QuiesceError
from runtime.stop_limits import FAILED_JOURNAL_TIMEOUT, JOURNAL_TIMEOUT

CLOSE_SLICE = 0.1
"""Seconds between two looks at what holds up the journal's last write."""


class LastWrite:
    """Write the end of a run. Blocking, bounded by what the stop has left for the journal. `now`: monotonic seconds."""

    def __init__(
        self, store: TaskStore, view: StatusView, signals: SignalPipe | None, now: Callable[[], float]
    ) -> None:
        self._store = store
        self._view = view
        self._signals = signals
        self._now = now

    def through_store(self, event: RunEvent, ending: RunResult, token: str) -> str | None:
        """Write it behind everything else, and close the store. Return what went wrong, if that is news."""
        self._store.finish([event], ending.status, ending.signal, token)
        is_closed = self._close_store()
        problem = self._store.failure if is_closed else "the journal did not answer; how the run ended is not in it"
        return None if self._view.journal_broken else problem

    def into(self, journal: Journal, run: RunRecord | None, ending: RunResult, token: str) -> str | None:
        """Write it into a journal that no thread has yet, and close that. Return what went wrong."""
        try:
            if run is not None:
                journal.handle_contention(wait_at_most(self._seconds_left()))
                journal.finish_run(run.id, ending.status, ending.signal, token=token)
        except QuiesceError as error:
            return str(error)
        finally:
            journal.close()
        return None

    def _seconds_left(self) -> float:
        """Return the seconds that a stop has left for the journal."""
        until = self._view.journal_deadline
        return JOURNAL_TIMEOUT if until is None else max(0.0, until - self._now())

    def _close_store(self) -> bool:
        """Wait for the last write: as long as a stop may take, or, without one, while another process has it locked.

        Return whether the journal is closed.
        """
        view, now = self._view, time.monotonic()
        seconds = self._seconds_left()
        until = now + (min(FAILED_JOURNAL_TIMEOUT, seconds) if view.journal_broken else seconds)
        last = until if view.journal_deadline is not None else now + CONTENTION_LIMIT
        while not self._store.close(min(CLOSE_SLICE, max(0.0, until - now))):
            now = time.monotonic()
            if self._signals is not None and self._signals.read():
                last = min(last, now + JOURNAL_TIMEOUT)
            if now >= (last if self._store.is_contended else until):
                return False
        return True
