"""How long a thread keeps the interpreter: a process has one such interval, for all of its supervisors."""

from __future__ import annotations

import sys
import threading

SWITCH_SECONDS = 0.0005
"""How long a busy thread keeps the interpreter from the others while a supervisor works. The default of 5 ms makes
the journal's thread wait that long at every statement (scripts/bench_journal.py shows a factor of two)."""


class _SwitchIntervalLease:
    """Shortened while there is a supervisor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 0.0

    def acquire(self) -> None:
        """One supervisor more."""
        with self._lock:
            if not self._users:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(SWITCH_SECONDS)
            self._users += 1

    def release(self) -> None:
        """One less; after the last one it is as it was."""
        with self._lock:
            self._users -= 1
            if not self._users:
                sys.setswitchinterval(self._before)


SWITCH = _SwitchIntervalLease()
"""The process's."""
