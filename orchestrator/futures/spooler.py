"""Hand in the tasks of calls: with a journal, those that come while others are being written, together.

A program submits calls one by one. Each would be a transaction of its own, and results would queue behind them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from orchestrator.core.records import NewTask, StoredTask
from orchestrator.engine.task_store import Known
from orchestrator.run_session import RunSession

OnRefused = Callable[[Sequence[NewTask], BaseException], None]
"""Take tasks that could not be handed in. For the journal's thread."""


class Spooler:
    """Hand in tasks in the order in which they come. Any thread may call; nothing waits for the disk."""

    def __init__(self, session: RunSession, on_refused: OnRefused) -> None:
        self._session = session
        self._on_refused = on_refused
        self._lock = threading.RLock()  # a future that is done at once calls back at once
        self._waiting: list[NewTask] = []
        self._known: dict[str, StoredTask] = {}
        self._is_writing = False

    def put(self, tasks: Sequence[NewTask], known: Known) -> None:
        """Hand in tasks: at once, or behind those that are being written."""
        if self._session.journal is None:
            self._watch(tasks, self._session.spool(tasks, known))
            return
        with self._lock:
            self._waiting.extend(tasks)
            self._known.update(known)
            if not self._is_writing:
                self._is_writing = True
                self._write()

    def seal(self) -> None:
        """Close the input behind everything that was put."""
        with self._lock:
            if self._waiting:
                self._write()
            self._session.seal(for_good=False)

    def _write(self) -> None:
        """Hand in what waits, with the lock."""
        tasks, self._waiting = self._waiting, []
        known, self._known = self._known, {}
        spooled = self._session.spool(tasks, known)
        self._watch(tasks, spooled)
        spooled.add_done_callback(self._on_written)

    def _on_written(self, _: Future[None]) -> None:
        with self._lock:
            if self._waiting:
                self._write()
            else:
                self._is_writing = False

    def _watch(self, tasks: Sequence[NewTask], spooled: Future[None]) -> None:
        if not spooled.done() or spooled.exception() is not None:
            spooled.add_done_callback(partial(self._check, tasks))

    def _check(self, tasks: Sequence[NewTask], spooled: Future[None]) -> None:
        error = spooled.exception()
        if error is not None:
            self._on_refused(tasks, error)
