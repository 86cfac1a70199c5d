"""Find and end what is left of a run's processes where no guardian is at work."""

from __future__ import annotations

import signal
import time
from collections.abc import Collection, Sequence

from orchestrator.backends import Cleanup
from orchestrator.backends.run_token import RunToken
from runtime.process import marked_processes, tree
from runtime.process.cgroup import RunCgroup
from runtime.process.descendants import end_repeatedly
from runtime.stop_limits import CGROUP_TIMEOUT, LEAST_ENVIRONMENTS_TIMEOUT


class Leftovers:
    """Know by what the processes of a run are found: the token in their environment, and the run's cgroup.

    keep_children: nothing is searched for, nothing is ended.
    """

    def __init__(self, run_id: str, token: RunToken, *, keep_children: bool) -> None:
        self._token = token
        self._keep_children = keep_children
        self._leaf = None if keep_children else RunCgroup.at_own_cgroup(token.leaf_name(run_id))
        self._since = 0
        """The start time of the first guardian."""
        self.is_clean = True
        """Whether the last search has left no process."""

    @property
    def cgroup(self) -> str | None:
        """The path of the run's cgroup, where the host allows one."""
        return None if self._leaf is None else str(self._leaf.path)

    def note_guardian(self, pid: int) -> None:
        """Note a guardian that was started: nothing of the run is older than the first."""
        if not self._since:
            self._since = tree.start_time(pid)

    def find(self, until: float, guardian: int | None, sentinel: Sequence[tree.Process]) -> list[tree.Process]:
        """Return what still carries the token or is in its cgroup, but for a living guardian and its sentinel.

        The loop waits meanwhile: environments are read `until` then (monotonic seconds), or a little longer.
        """
        spared = [pid for pid in (guardian, *(process.pid for process in sentinel)) if pid is not None]
        seconds = max(LEAST_ENVIRONMENTS_TIMEOUT, until - time.monotonic())
        leftovers = marked_processes.of_supervisor(self._token.value, self._token.mark, self._since, spared, seconds)
        if self._leaf is not None:
            listed = {guardian, *(process.pid for process in leftovers)}
            leftovers += tree.processes(pid for pid in self._leaf.pids() if pid not in listed)
        return leftovers

    def end(
        self,
        until: float,
        guardian: int | None,
        sentinel: Sequence[tree.Process],
        *,
        expected: Collection[int | None],
        known: Sequence[str] = (),
    ) -> Cleanup:
        """Kill what is left until nothing is. Return what was found and what could not be ended.

        Processes are looked for twice at least, and `until` then (monotonic seconds). `known`: what the guardian could
        not end; it is killed, too, but not waited for. `expected`: a guardian that was killed, and executors that die
        with it, are nothing that was left.
        """
        self.is_clean = not known
        if self._keep_children:
            return Cleanup([], [])
        descriptions: dict[int, str] = {}

        def look() -> list[tree.Process]:
            leftovers = self.find(until, guardian, sentinel)
            if known:  # the guardian may have had no time to kill them
                not_waited_for = {process for process in leftovers if tree.describe(process) in known}
                tree.send_signal(not_waited_for, signal.SIGKILL)
                leftovers = [process for process in leftovers if process not in not_waited_for]
            new = [process for process in leftovers if process.pid not in descriptions and process.pid not in expected]
            descriptions.update((process.pid, tree.describe(process)) for process in new)
            return leftovers

        leftovers = end_repeatedly(look, until, least_looks=2)
        self.is_clean = self.is_clean and not leftovers
        return Cleanup(list(descriptions.values()), [tree.describe(process) for process in leftovers])

    def kill_cgroup(self) -> None:
        """Kill everything in the run's cgroup, and thaw it: else the next guardian would freeze in it, too."""
        if self._leaf is not None:
            self._leaf.kill()
            self._leaf.thaw()

    def remove_cgroup(self) -> None:
        """Remove the run's cgroup, and end what is in it."""
        if self._leaf is not None and not self._leaf.remove():
            self._leaf.kill()  # cannot happen after a sweep; after a crash of ours it can
            self._leaf.remove(CGROUP_TIMEOUT if self.is_clean else 0.0)
