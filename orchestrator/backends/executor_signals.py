"""Executors as the supervisor can signal them itself, for as long as their guardian is held and does not.

The guardian is their parent and signals them without any doubt about a pid. One that is held waits for nobody: the
pids that it has reported are still those executors', dead or alive. So they may be signalled from here, until it goes
on or is lost.
"""

from __future__ import annotations

import signal

from runtime.ipc.flag import InterruptFlag
from runtime.process import tree
from runtime.process.executor_process import ExecutorProcess

Key = tuple[int, int]
"""Slot and incarnation."""


class ExecutorSignals:
    """Who was forked and has not been reported gone, and which signal of the ladder each was to be sent."""

    def __init__(self, flag: InterruptFlag) -> None:
        self._flag = flag
        self._families: dict[Key, ExecutorProcess] = {}
        self._pending: dict[Key, int] = {}

    def add(self, slot: int, incarnation: int, pid: int) -> None:
        """An executor was forked."""
        self._families[slot, incarnation] = ExecutorProcess(slot, incarnation, pid, [])

    def remove(self, slot: int, incarnation: int) -> None:
        """It is gone."""
        self._families.pop((slot, incarnation), None)
        self._pending.pop((slot, incarnation), None)

    def clear(self) -> None:
        """Their guardian is gone, and they with it."""
        self._families.clear()
        self._pending.clear()

    def expect(self, slot: int, incarnation: int, signum: int, *, now: bool) -> None:
        """The guardian was ordered to send SIGTERM, or SIGKILL to the tree. `now`: it is held, so do it here."""
        self._pending[slot, incarnation] = signum
        if now:
            self.signal_pending()

    def signal_pending(self) -> None:
        """Send what the guardian was ordered to send and may not have sent."""
        for key, signum in tuple(self._pending.items()):
            del self._pending[key]
            family = self._families.get(key)
            if family is None or not tree.pid_exists(family.pid):
                continue
            if signum == signal.SIGTERM:
                family.terminate(self._flag)
            else:
                family.kill(self._flag)

    @property
    def pids(self) -> set[int]:
        """Of those that have not been reported gone."""
        return {family.pid for family in self._families.values()}

    def any_lives(self) -> bool:
        """Whether one of them is no zombie."""
        return any(tree.pid_exists(family.pid) for family in self._families.values())
