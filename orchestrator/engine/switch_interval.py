"""The interpreter's switch interval: a process has one, for all of its supervisors."""

from __future__ import annotations

import sys
import threading

SWITCH_SECONDS = 0.0005
"""How long a busy thread keeps the interpreter from the others while a supervisor works. The default of 5 ms makes
the journal's thread wait that long at every statement (scripts/bench_journal.py shows a factor of two)."""


class SwitchInterval:
    """Shorten the interpreter's switch interval for as long as a block is entered. Blocks may overlap; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(SWITCH_SECONDS)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                sys.setswitchinterval(self._before)


short_switch_interval = SwitchInterval()
"""The process's one."""
