"""Find, report and end the processes that executors leave behind (strays), and sweep every process at the end.

The guardian is the child subreaper, so every process that has lost its parent is a child of the guardian. Only the
guardian reaps them: until it has, a child's pid cannot be reused.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from runtime.guardian.stdio import StdioKeeper
from runtime.ipc.guardian_protocol import SweepReport
from runtime.process import marked_processes, marks, tree
from runtime.process.cgroup import RunCgroup
from runtime.process.descendants import Descendants
from runtime.process.executor_process import ExecutorProcess
from runtime.stop_limits import (
    CROWD_KILL_TIMEOUT,
    CROWD_TIMEOUT,
    ORPHANED_KILL_TIMEOUT,
    STRAY_GRACE,
    STRAY_SEARCH_TIMEOUT,
    SWEEP_END_TIMEOUT,
    SWEEP_KILL_MARGIN,
    SWEEP_LAST_MARGIN,
    SWEEP_PROGRESS_TIMEOUT,
)

UNSEEN = "processes that come and go more quickly than they can be looked at"
"""What the report names when no process is seen although the kernel says that there is one."""

MAX_NAMED = 20
"""Upper bound of the processes that the sweep's report names."""

CROWD = 32
"""Number of orphans from which they are stopped before they are listed: they may be a fork bomb, whose processes are
faster than the listing."""


@dataclass
class _PendingKill:
    """Strays that were sent SIGTERM, and when they are sent SIGKILL (monotonic seconds).

    `output`: the descriptors that they may still write to. `below`: all descendants of the executor that left them, if
    they are a crowd. `give_up_at`: from then on they are killed even if new ones still appear.
    """

    processes: list[tree.Process]
    below: Descendants | None
    kill_at: float
    give_up_at: float
    output: list[int]


class StrayReaper:
    """Ends strays. Used by the guardian's loop alone.

    `leaf`: the run's cgroup, or None. `output` is closed when no process can write to it any more. `helper`: the pid of
    a child that belongs to no executor (the sentinel). `keep`: leave orphans alone, unless their executor went down the
    ladder. `token`, `mark`: the supervisor's, given where this process is no subreaper: orphans are then known only by
    their environment or resource limit.
    """

    def __init__(
        self,
        leaf: RunCgroup | None,
        output: StdioKeeper,
        *,
        keep: bool,
        helper: int = 0,
        token: str | None = None,
        mark: int = 0,
    ) -> None:
        self._leaf = leaf
        self._token, self._mark = token, mark
        self._helper = helper
        self._keep = keep
        self._output = output
        self._pending: list[_PendingKill] = []
        self._owners: dict[int, str] = {}
        self._crowds: dict[int, Descendants] = {}
        self._has_killed = False
        self._all = Descendants(self._roots)

    # -- of executors -------------------------------------------------------------------------------

    def find_strays(
        self, families: Sequence[ExecutorProcess], executors: Container[int]
    ) -> dict[int, list[tree.Process]]:
        """Return the strays of executors that are dead, by the executors' pids.

        Strays of an executor are the processes that were remembered as its descendants, that are in its session, or
        that carry its mark. All children are read once for all executors: reading them for each would cost the square
        of their number. A crowd is stopped before it is read; `terminate` continues it.
        """
        left = {family.pid: dict.fromkeys(filter(tree.is_running, family.descendants)) for family in families}
        if not self._keep and tree.has_children():
            self._stop_crowds(families, executors)
            for executor, roots in self._orphans_of(families, executors).items():
                for pid in roots:
                    left[executor] |= dict.fromkeys([*tree.processes([pid]), *tree.children(pid)])
        return {executor: list(processes) for executor, processes in left.items()}

    def _stop_crowds(self, families: Sequence[ExecutorProcess], executors: Container[int]) -> None:
        """Stop the strays of each executor whose strays are a crowd."""
        by_pid = {family.pid: family for family in families}
        for pid, roots in self._orphans_of(families, executors).items():
            if _is_crowd(roots):
                family = by_pid[pid]
                below = Descendants(partial(self._orphans_of_one, family, executors))
                below.stop(time.monotonic() + CROWD_TIMEOUT)
                self._crowds[pid] = below

    def _orphans_of_one(self, family: ExecutorProcess, executors: Container[int]) -> list[int]:
        return self._orphans_of([family], executors)[family.pid]

    def _roots(self) -> list[int]:
        return [pid for pid in tree.child_pids(os.getpid()) if pid != self._helper]

    def _orphans_of(self, families: Sequence[ExecutorProcess], executors: Container[int]) -> dict[int, list[int]]:
        """Return the guardian's children that descend from dead executors, by the executors' pids.

        There may be thousands, of many executors. Each child is read once, unless it has no readable mark: a process
        that is just being exec'd has none for a moment.
        """
        sessions = {family.pid: marks.slot_mark(family.slot, family.incarnation) for family in families}
        executors_by_mark = {mark: executor for executor, mark in sessions.items()}
        found: dict[int, list[int]] = {family.pid: [] for family in families}
        for pid in tree.child_pids(os.getpid()):
            if pid in executors or pid == self._helper:
                continue
            owner = self._owners.get(pid) or sessions.get(tree.session_of(pid) or 0) or marks.slot_of(pid)
            self._owners[pid] = owner
            if owner in executors_by_mark:
                found[executors_by_mark[owner]].append(pid)
        return found

    def terminate(self, processes: list[tree.Process], output: list[int], executor: int = 0) -> None:
        """Send SIGTERM to the strays of an executor (a pid), and schedule SIGKILL for when their grace is over."""
        below = self._crowds.pop(executor, None)
        tree.send_signal(processes, signal.SIGTERM, fresh=True)
        if below is not None:
            below.release()
        kill_at = time.monotonic() + STRAY_GRACE
        self._pending.append(_PendingKill(processes, below, kill_at, kill_at + SWEEP_END_TIMEOUT, output))

    def reaped(self, pid: int) -> None:
        """Forget a pid that was reaped: another process may get it from now on."""
        self._owners.pop(pid, None)
        self._all.forget(pid)
        for pending in self._pending:
            if pending.below is not None:
                pending.below.forget(pid)

    # -- in time ------------------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """Return the time of the next SIGKILL (monotonic seconds), or None."""
        return min((pending.kill_at for pending in self._pending), default=None)

    def kill_due(self) -> None:
        """Kill the strays whose grace is over. A crowd that still forks is stopped first."""
        now = time.monotonic()
        for pending in tuple(self._pending):
            if pending.kill_at <= now:
                if pending.below is not None:
                    if not pending.below.stop(now + STRAY_SEARCH_TIMEOUT) and now < pending.give_up_at:
                        continue
                    pending.below.kill()
                left = filter(tree.is_running, pending.processes)
                family = [found for process in left for found in (process, *tree.children(process.pid))]
                tree.send_signal(family, signal.SIGKILL)
            elif any(map(tree.is_running, pending.processes)):
                continue
            self._pending.remove(pending)
            self._output.close(pending.output)

    # -- of everything ------------------------------------------------------------------------------

    def sweep(
        self,
        executors: Collection[int],
        wait: Callable[[float], None],
        kill_by: float = math.inf,
        until: float = math.inf,
    ) -> SweepReport:
        """End every process that is left, SIGTERM first, and repeat until there is none or the time is over.

        `wait` waits at most so many seconds for a child's end, and reaps. `kill_by` (monotonic seconds): from then on
        processes are killed before they are described, which takes long if they are many. `until` (monotonic seconds):
        the sweep ends then, unless processes are just ending.
        """
        if self._keep:  # an executor that is still there cannot be ended
            return SweepReport(0, 0, list(map(tree.describe, tree.processes(executors))))
        if self._is_alone():
            return SweepReport(0, 0, [])
        found: dict[int, str] = {}
        began = time.monotonic()
        kill_at = min(kill_by, began + STRAY_GRACE, until - SWEEP_KILL_MARGIN)
        if began < kill_at:
            told = self._already_signalled()  # a second SIGTERM would interrupt the handler of the first one
            if _is_crowd(self._roots()):
                self._all.stop(began + CROWD_TIMEOUT)
            left = self._scan(found)
            tree.send_signal([process for process in left if process.pid not in told], signal.SIGTERM, fresh=True)
            tree.send_signal([process for process in left if process.pid in told], signal.SIGCONT, fresh=True)
            self._all.release()
            if told and all(process.pid in told for process in left):
                kill_at = min(kill_at, max(pending.kill_at for pending in self._pending))
        self._wait_for_end(found, wait, kill_at, until, is_orphaned=kill_by < math.inf)
        left = self._scan(found)
        remaining = list(map(tree.describe, left)) or ([] if self._is_alone() else [UNSEEN])
        ended = len(found.keys() - {process.pid for process in left})
        return SweepReport(len(found), ended, remaining, list(found.values())[:MAX_NAMED])

    def _wait_for_end(
        self, found: dict[int, str], wait: Callable[[float], None], kill_at: float, until: float, *, is_orphaned: bool
    ) -> None:
        """Kill from `kill_at` on, until no process is left or the time is over; longer while new ones appear."""
        began = max(kill_at, time.monotonic())
        last, limit = began + SWEEP_END_TIMEOUT, began + (ORPHANED_KILL_TIMEOUT if is_orphaned else CROWD_KILL_TIMEOUT)
        fewest, seen_at = math.inf, time.monotonic()
        while not self._is_alone() and (now := time.monotonic()) < last:
            if now >= until and now >= seen_at + SWEEP_PROGRESS_TIMEOUT:
                break
            if now >= kill_at:
                is_last = now >= min(limit, max(until, began)) - SWEEP_LAST_MARGIN
                if not self._kill_all(found, is_last=is_last, is_counted=not is_orphaned):
                    last = min(now + SWEEP_END_TIMEOUT, limit)
                    fewest, seen_at = math.inf, time.monotonic()
            wait(0.02)
            if (left := len(self._roots())) < fewest:
                fewest, seen_at = left, time.monotonic()
        if self._all.pids:  # the last search was not the last one in time: what it has stopped must not stay so
            self._all.kill()
            wait(0.02)

    def _is_alone(self) -> bool:
        """Return whether the kernel knows of no child, and of no other process in the cgroup.

        A listing that is empty does not prove it: in a chain of processes that fork and exit, each is gone before its
        entry in /proc is read, and its successor is a child of the guardian.
        """
        is_leaf_empty = self._leaf is None or set(self._leaf.pids()) <= {os.getpid()}
        return is_leaf_empty and not tree.has_children() and not self._marked()

    def _kill_all(self, found: dict[int, str], *, is_last: bool, is_counted: bool) -> bool:
        """Kill every process: by the cgroup, which includes those that are being forked; then the ones outside of it.

        Processes outside of the cgroup are stopped before they are killed. Return False while new ones still appear;
        they are killed nevertheless if this `is_last`.
        """
        if self._leaf is not None and not self._has_killed:
            self._leaf.leave()  # the kill would end the guardian too
            self._leaf.kill()
            self._has_killed = True
            return True
        is_complete = self._all.stop(time.monotonic() + STRAY_SEARCH_TIMEOUT)
        if is_complete or is_last:
            if is_counted:
                self._count(tree.processes(self._all.pids), found)
            self._all.kill()
            tree.send_signal(self._marked(), signal.SIGKILL)  # without a subreaper they are no children of the guardian
            if self._leaf is not None:
                self._leaf.kill()
        return is_complete

    def _scan(self, found: dict[int, str]) -> list[tree.Process]:
        """Return the processes that are there now, and add those that were not reported yet to `found`, by pid."""
        left = tree.children()
        known = {process.pid for process in left} | {os.getpid()}
        if self._leaf is not None:
            left += tree.processes(pid for pid in self._leaf.pids() if pid not in known)
        left += [process for process in self._marked() if process not in left]
        self._count(left, found)
        return left

    def _count(self, processes: Iterable[tree.Process], found: dict[int, str]) -> None:
        told = self._already_signalled()
        for process in processes:
            if process.pid not in told and process.pid not in found:
                found[process.pid] = tree.describe(process) if len(found) < MAX_NAMED else ""

    def _marked(self) -> list[tree.Process]:
        """Return the processes that carry the supervisor's token, where orphans become children of another process."""
        if self._token is None:
            return []
        return marked_processes.of_supervisor(
            self._token, self._mark, since=tree.start_time(os.getpid()), besides=[self._helper]
        )

    def _already_signalled(self) -> set[int]:
        """Return the pids of strays that were sent SIGTERM, and reported, when their executor ended."""
        return {process.pid for pending in self._pending for process in pending.processes}


def _is_crowd(roots: Iterable[int]) -> bool:
    """Return whether these processes and their descendants are so many that they must be stopped to be listed."""
    queue = list(roots)
    for pid in queue:  # grows while it is walked
        if len(queue) >= CROWD:
            break
        queue.extend(tree.child_pids(pid))
    return len(queue) >= CROWD
