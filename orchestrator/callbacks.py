"""Call the done-callbacks of handles in a thread of their own: the supervisor's threads run no user code."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

IDLE_SECONDS = 0.05
"""Seconds without a callback after which the thread ends; the next one starts another thread."""


class CallbackThread:
    """Call functions one after the other. `put` never blocks for long; any thread may call it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Callable[[], object]] = deque()
        self._thread: threading.Thread | None = None
        self._is_dismissed = False

    def put(self, call: Callable[[], object]) -> None:
        """Have `call()` called."""
        with self._changed:
            self._waiting.append(call)
            self._is_dismissed = False
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def _start(self) -> None:
        """Start the thread, with the lock. Where the host has none left, `flush` calls, in its caller's thread."""
        thread = threading.Thread(target=self._work, name="quiesce-callbacks", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return
        self._thread = thread

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything was called, and let the thread end. Return False if that takes more than `timeout`."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._is_dismissed = True
            thread = self._thread
            self._changed.notify_all()
        if thread is None:
            self._call_waiting()
        elif thread is not threading.current_thread():
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
            return not thread.is_alive()
        return True

    def _work(self) -> None:
        while True:
            self._call_waiting()
            with self._changed:
                if not self._waiting and not self._is_dismissed:
                    self._changed.wait(IDLE_SECONDS)
                if not self._waiting:
                    self._thread = None
                    return

    def _call_waiting(self) -> None:
        while self._waiting:
            call = self._waiting.popleft()
            try:
                call()
            except BaseException:
                # As concurrent.futures does, but for all: an ExecutionInterrupted here must not end the thread either.
                logging.getLogger("concurrent.futures").exception("a callback of a handle failed")
