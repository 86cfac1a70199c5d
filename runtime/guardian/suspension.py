"""Stop every process below the guardian, and continue those that it has stopped."""

from __future__ import annotations

import signal

from runtime.process import tree

HALT_ROUNDS = 20
"""Upper bound of the rounds in which descendants are searched for and stopped."""


class Suspension:
    """The processes that the guardian has stopped."""

    def __init__(self) -> None:
        self._suspended: list[tree.Process] = []

    def suspend(self, helper: int) -> int:
        """Stop all descendants, parents first, until no new ones are found: a stopped process cannot fork.

        Processes that were stopped already are not recorded, so that `resume` leaves them stopped. `helper`: the pid of
        a child that goes on. Return how many the guardian has stopped.
        """
        known = {process.pid for process in self._suspended} | {helper}
        for _ in range(HALT_ROUNDS):
            found = [process for process in tree.children() if process.pid not in known]
            if not found:
                break
            known.update(process.pid for process in found)
            running = [process for process in found if not tree.is_stopped(process)]
            tree.send_signal(running[::-1], signal.SIGSTOP)
            self._suspended += running
        return len(self._suspended)

    def resume(self) -> None:
        """Continue those that `suspend` has stopped."""
        suspended, self._suspended = self._suspended, []
        tree.send_signal(suspended, signal.SIGCONT)
