"""Wait for what a killed supervisor has left running on this machine, and end it, before its run is resumed.

Its guardian is its heir, and gives the agents their grace: no other supervisor may start their tasks meanwhile. If the
guardian was killed too, what the agents had detached is ended here.

Which supervisor is meant is known by the random token that the journal has of it, not by its pid or the run's name,
which any user can know. A process of another user is never waited for nor signalled, whatever its environment says.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Sequence

from orchestrator.backends.run_token import RunToken
from orchestrator.journal import SupervisorRecord
from orchestrator.logging.sinks import LogCallback
from runtime.process import marked_processes, marks, tree
from runtime.process.cgroup import RunCgroup
from runtime.process.descendants import end_repeatedly
from runtime.statuses import Severity
from runtime.stop_limits import CGROUP_TIMEOUT, PREVIOUS_END_TIMEOUT

LOOK_SECONDS = 0.05
"""Seconds between two looks at its guardian."""


class PreviousSupervisor:
    """Know a supervisor that had a run before, by its record in the journal."""

    def __init__(self, run_id: str, supervisor: SupervisorRecord) -> None:
        self._pid = supervisor.pid
        self._token = RunToken(supervisor.token)
        self._leaf = RunCgroup.at_own_cgroup(self._token.leaf_name(run_id))
        self._is_local = bool(supervisor.token) and supervisor.host == socket.gethostname()

    def wait_and_clean_up(
        self, log: LogCallback, check: Callable[[], None], timeout: float, *, keep_children: bool
    ) -> bool:
        """Wait until its guardian has done its work, and end what is left. `check` raises when we are to stop.

        Wait at most `timeout` seconds. Return False if it was on another host, as what it may have left is.
        """
        if not self._is_local:
            return False
        if heirs := self._guardians(self._find_leftovers()):
            log("previous_supervisor.waiting", Severity.WARNING, {"supervisor": self._pid, "guardian": heirs[0].pid})
        end = time.monotonic() + timeout
        while heirs and time.monotonic() < end:
            check()
            tree.send_signal(heirs, signal.SIGCONT)
            time.sleep(LOOK_SECONDS)
            heirs = [heir for heir in heirs if tree.is_running(heir)]
        if not keep_children:
            self._kill_leftovers(log)
        return True

    def _kill_leftovers(self, log: LogCallback) -> None:
        descriptions: dict[int, str] = {}

        def look() -> list[tree.Process]:
            leftovers = self._find_leftovers()
            if leftovers and self._leaf is not None:  # it may have been frozen
                self._leaf.kill()
                self._leaf.thaw()
            descriptions.update(
                (process.pid, tree.describe(process)) for process in leftovers if process.pid not in descriptions
            )
            return leftovers

        end_repeatedly(look, time.monotonic() + PREVIOUS_END_TIMEOUT)
        if descriptions:
            fields = {"supervisor": self._pid, "count": len(descriptions), "processes": list(descriptions.values())}
            log("previous_supervisor.strays_killed", Severity.WARNING, fields)
        if self._leaf is not None:  # also one that is empty
            self._leaf.remove(CGROUP_TIMEOUT)

    def _find_leftovers(self) -> list[tree.Process]:
        leftovers = marked_processes.of_predecessor(self._token.value, self._token.mark)
        listed = {process.pid for process in leftovers}
        return leftovers + tree.processes(pid for pid in (self._leaf.pids() if self._leaf else ()) if pid not in listed)

    @staticmethod
    def _guardians(leftovers: Sequence[tree.Process]) -> list[tree.Process]:
        """Return the guardians: only they have the placeholder in the place of a slot."""
        return [process for process in leftovers if marks.slot_of(process.pid) == marks.SLOT_PLACEHOLDER]
