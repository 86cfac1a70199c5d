"""Signal executors from the supervisor, for as long as their guardian is held and does not.

The guardian is their parent and signals them without any doubt about a pid. A held one reaps no child: the pids that it
has reported are still those executors', dead or alive. So the supervisor may signal them, until the guardian goes on
or is lost.
"""

from __future__ import annotations

import signal

from runtime.ipc.flag import InterruptFlag
from runtime.process import tree
from runtime.process.executor_process import ExecutorProcess

Key = tuple[int, int]
"""A slot and its incarnation."""


class ExecutorSignals:
    """Know the executors that were forked and not reported gone, and the signal that each was to be sent."""

    def __init__(self, flag: InterruptFlag) -> None:
        self._flag = flag
        self._processes: dict[Key, ExecutorProcess] = {}
        self._pending: dict[Key, int] = {}

    def add(self, slot: int, incarnation: int, pid: int) -> None:
        """Add an executor that was forked."""
        self._processes[slot, incarnation] = ExecutorProcess(slot, incarnation, pid, [])

    def remove(self, slot: int, incarnation: int) -> None:
        """Remove an executor that is gone."""
        self._processes.pop((slot, incarnation), None)
        self._pending.pop((slot, incarnation), None)

    def clear(self) -> None:
        """Remove all: their guardian is gone, and they with it."""
        self._processes.clear()
        self._pending.clear()

    def expect(self, slot: int, incarnation: int, signum: int, *, now: bool) -> None:
        """Note that the guardian was ordered to send SIGTERM, or SIGKILL to the tree. `now`: it is held, so send it."""
        self._pending[slot, incarnation] = signum
        if now:
            self.signal_pending()

    def signal_pending(self) -> None:
        """Send what the guardian was ordered to send and may not have sent."""
        for key, signum in tuple(self._pending.items()):
            del self._pending[key]
            process = self._processes.get(key)
            if process is None or not tree.pid_exists(process.pid):
                continue
            if signum == signal.SIGTERM:
                process.terminate(self._flag, with_stacks=True)
            else:
                process.kill(self._flag)

    @property
    def pids(self) -> set[int]:
        """The process ids of those that were not reported gone."""
        return {process.pid for process in self._processes.values()}

    def any_lives(self) -> bool:
        """Return whether any of them is no zombie."""
        return any(tree.pid_exists(process.pid) for process in self._processes.values())
