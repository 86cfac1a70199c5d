"""What executors leave behind: found, reported, told to end, made to end; and the last look at everything.

The guardian is the child subreaper, so whatever has lost its parent is its child. It alone waits for them: until it
has, a child's pid is that child's own.
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
from runtime.process import tree
from runtime.process.cgroup import RunCgroup
from runtime.process.descendants import Descendants
from runtime.process.executor_process import ExecutorProcess

STRAY_GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL for what an executor left behind."""

KILL_PATIENCE = 2.0
"""Seconds that the end waits for SIGKILLed processes before it reports them as unkillable (D state)."""

KILL_SECONDS = 0.2
"""Seconds before the end of the last look at which it kills at the latest: those that were told have less then."""

PROGRESS_SECONDS = 0.1
"""So long after fewer processes were seen, more are expected to end: the kernel takes a while for thousands."""

UNSEEN = "processes that come and go more quickly than they can be looked at"
"""What remains where nobody is seen and the kernel says that somebody is there."""

MAX_NAMED = 20
"""So many of what the last look finds are named."""


CROWD = 32
"""From so many orphans on they are stopped while they are looked at: they may be a fork bomb, whose processes leave no
time for it."""

CROWD_SECONDS = 1.0
"""So long a crowd may be stopped before it is looked at. It takes milliseconds, if the crowd leaves any processor."""

STOP_SECONDS = 0.2
"""So long is looked for those that have to be stopped, before what has ended is waited for."""

LONGER_PATIENCE, HEIR_PATIENCE = 3.0, 30.0
"""Likewise while new ones are still found: with a supervisor that waits for the end, and without."""

LAST_SECONDS = 0.7
"""When so little is left of that, or until the stop must end, those that were found are killed although there are new
ones."""


@dataclass
class _PendingKill:
    """Processes that were told to end, and when they are made to. `output`: what they may still write to.

    `below`: what descends from the executor that has left them, if that is a crowd. `give_up_at`: from then on they are
    killed even if new ones are still found.
    """

    processes: list[tree.Process]
    below: Descendants | None
    kill_at: float
    give_up_at: float
    output: list[int]


class StrayReaper:
    """`leaf`: the cgroup that everybody is in, if there is one. `output` is closed when nobody can write any more.

    `helper`: a child that is no executor's. `keep`: orphans are left alone, unless their executor went down the ladder.
    `token`: the supervisor's, where this process is no subreaper: orphans are known by their environment alone.
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
        self._doomed: list[_PendingKill] = []
        self._owners: dict[int, str] = {}
        self._crowds: dict[int, Descendants] = {}
        self._has_killed = False
        self._all = Descendants(self._roots)

    # -- of executors -------------------------------------------------------------------------------

    def find_strays(
        self, families: Sequence[ExecutorProcess], executors: Container[int]
    ) -> dict[int, list[tree.Process]]:
        """Return what is left of the families of executors that are dead, by the pids that those had.

        Theirs is what is remembered, in their session, or carrying their mark. All children are read once, however many
        executors are dead: reading them for each would cost the square of their number. Many are stopped before they
        are looked at; `doom` continues them.
        """
        left = {family.pid: dict.fromkeys(filter(tree.is_running, family.descendants)) for family in families}
        if not self._keep and tree.has_children():
            self._stop_crowds(families, executors)
            for executor, roots in self._orphans_of(families, executors).items():
                for pid in roots:
                    left[executor] |= dict.fromkeys([*tree.processes([pid]), *tree.children(pid)])
        return {executor: list(processes) for executor, processes in left.items()}

    def _stop_crowds(self, families: Sequence[ExecutorProcess], executors: Container[int]) -> None:
        """Stop what is left of an executor if it is a crowd."""
        by_pid = {family.pid: family for family in families}
        for pid, roots in self._orphans_of(families, executors).items():
            if _is_crowd(roots):
                family = by_pid[pid]
                below = Descendants(partial(self._orphans_of_one, family, executors))
                below.stop(time.monotonic() + CROWD_SECONDS)
                self._crowds[pid] = below

    def _orphans_of_one(self, family: ExecutorProcess, executors: Container[int]) -> list[int]:
        return self._orphans_of([family], executors)[family.pid]

    def _roots(self) -> list[int]:
        return [pid for pid in tree.child_pids(os.getpid()) if pid != self._helper]

    def _orphans_of(self, families: Sequence[ExecutorProcess], executors: Container[int]) -> dict[int, list[int]]:
        """Return our children that descend from dead executors, by session or mark, by the executors' pids.

        There may be thousands, of many executors. Each is looked at once, unless it has no mark that can be read: one
        that is just being exec'd has none for a moment.
        """
        sessions = {family.pid: tree.slot_mark(family.slot, family.incarnation) for family in families}
        executors_by_mark = {mark: executor for executor, mark in sessions.items()}
        found: dict[int, list[int]] = {family.pid: [] for family in families}
        for pid in tree.child_pids(os.getpid()):
            if pid in executors or pid == self._helper:
                continue
            owner = self._owners.get(pid) or sessions.get(tree.session_of(pid) or 0) or tree.slot_of(pid)
            self._owners[pid] = owner
            if owner in executors_by_mark:
                found[executors_by_mark[owner]].append(pid)
        return found

    def terminate(self, processes: list[tree.Process], output: list[int], executor: int = 0) -> None:
        """Tell them to end. Those that have not when their grace is over are killed. `executor`: who has left them."""
        below = self._crowds.pop(executor, None)
        tree.send_signal(processes, signal.SIGTERM, fresh=True)
        if below is not None:
            below.release()
        kill_at = time.monotonic() + STRAY_GRACE
        self._doomed.append(_PendingKill(processes, below, kill_at, kill_at + KILL_PATIENCE, output))

    def reaped(self, pid: int) -> None:
        """Somebody was waited for: from now on the number may be anybody's."""
        self._owners.pop(pid, None)
        self._all.forget(pid)
        for doomed in self._doomed:
            if doomed.below is not None:
                doomed.below.forget(pid)

    # -- in time ------------------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """When the next of them is made to end (monotonic seconds)."""
        return min((doomed.kill_at for doomed in self._doomed), default=None)

    def kill_due(self) -> None:
        """Kill those whose grace is over. Those that still multiply are stopped until there are no new ones."""
        now = time.monotonic()
        for doomed in tuple(self._doomed):
            if doomed.kill_at <= now:
                if doomed.below is not None:
                    if not doomed.below.stop(now + STOP_SECONDS) and now < doomed.give_up_at:
                        continue
                    doomed.below.kill()
                left = filter(tree.is_running, doomed.processes)
                family = [found for process in left for found in (process, *tree.children(process.pid))]
                tree.send_signal(family, signal.SIGKILL)
            elif any(map(tree.is_running, doomed.processes)):
                continue
            self._doomed.remove(doomed)
            self._output.close(doomed.output)

    # -- of everything ------------------------------------------------------------------------------

    def sweep(
        self,
        executors: Collection[int],
        wait: Callable[[float], None],
        kill_by: float = math.inf,
        until: float = math.inf,
    ) -> SweepReport:
        """End all that is left, TERM first, and look again until there are none or patience is over.

        `wait` waits so many seconds for a child's end, and reaps. `kill_by` (monotonic seconds): from then on they are
        killed before they are looked at, which takes long if they are many. `until`: nothing is waited for longer,
        unless it is just ending.
        """
        if self._keep:  # an executor that is still there is one that nothing ends
            return SweepReport(0, 0, list(map(tree.describe, tree.processes(executors))))
        if self._is_alone():
            return SweepReport(0, 0, [])
        found: dict[int, str] = {}
        began = time.monotonic()
        kill_at = min(kill_by, began + STRAY_GRACE, until - KILL_SECONDS)
        if began < kill_at:
            told = (
                self._already_signalled()
            )  # once is enough: a second SIGTERM would come in the middle of the first one's handler
            if _is_crowd(self._roots()):
                self._all.stop(began + CROWD_SECONDS)
            left = self._scan(found)
            tree.send_signal([process for process in left if process.pid not in told], signal.SIGTERM, fresh=True)
            tree.send_signal([process for process in left if process.pid in told], signal.SIGCONT, fresh=True)
            self._all.release()
            if told and all(process.pid in told for process in left):
                kill_at = min(kill_at, max(doomed.kill_at for doomed in self._doomed))
        self._wait_for_end(found, wait, kill_at, until, is_heir=kill_by < math.inf)
        left = self._scan(found)
        remaining = list(map(tree.describe, left)) or ([] if self._is_alone() else [UNSEEN])
        ended = len(found.keys() - {process.pid for process in left})
        return SweepReport(len(found), ended, remaining, list(found.values())[:MAX_NAMED])

    def _wait_for_end(
        self, found: dict[int, str], wait: Callable[[float], None], kill_at: float, until: float, *, is_heir: bool
    ) -> None:
        """Kill from `kill_at` on, until nobody is left or patience is over; longer while they multiply."""
        began = max(kill_at, time.monotonic())
        last, limit = began + KILL_PATIENCE, began + (HEIR_PATIENCE if is_heir else LONGER_PATIENCE)
        fewest, seen_at = math.inf, time.monotonic()
        while not self._is_alone() and (now := time.monotonic()) < last:
            if now >= until and now >= seen_at + PROGRESS_SECONDS:
                break
            if now >= kill_at:
                is_last = now >= min(limit, max(until, began)) - LAST_SECONDS
                if not self._kill_all(found, is_last=is_last, is_counted=not is_heir):
                    last = min(now + KILL_PATIENCE, limit)
                    fewest, seen_at = math.inf, time.monotonic()
            wait(0.02)
            if (left := len(self._roots())) < fewest:
                fewest, seen_at = left, time.monotonic()

    def _is_alone(self) -> bool:
        """Whether the kernel knows of no child and of nobody else in the cgroup.

        That nobody was seen does not say so: in a chain of processes that fork and exit, each is gone before its entry
        in /proc is read, and its successor is our child.
        """
        is_leaf_empty = self._leaf is None or set(self._leaf.pids()) <= {os.getpid()}
        return is_leaf_empty and not tree.has_children() and not self._marked()

    def _kill_all(self, found: dict[int, str], *, is_last: bool, is_counted: bool) -> bool:
        """The kernel does it at once where it can, also to those that are being forked.

        Whoever is left is not in the cgroup: those are stopped first. False: there are still new ones, and nobody was
        killed, unless it `is_last`.
        """
        if self._leaf is not None and not self._has_killed:
            self._leaf.leave()  # it would end us too
            self._leaf.kill()
            self._has_killed = True
            return True
        is_complete = self._all.stop(time.monotonic() + STOP_SECONDS)
        if is_complete or is_last:
            if is_counted:
                self._count(tree.processes(self._all.pids), found)
            self._all.kill()
            tree.send_signal(self._marked(), signal.SIGKILL)  # without a subreaper they are nobody's children here
            if self._leaf is not None:
                self._leaf.kill()
        return is_complete

    def _scan(self, found: dict[int, str]) -> list[tree.Process]:
        """Who is there now. `found`: those of them that nobody has told of, by pid."""
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
        """Return those that carry the supervisor's token: where orphans become another process's children."""
        if self._token is None:
            return []
        return tree.processes_of_supervisor(
            self._token, self._mark, since=tree.start_time(os.getpid()), besides=[self._helper]
        )

    def _already_signalled(self) -> set[int]:
        """Strays that were told to end, and reported, when their executor ended."""
        return {process.pid for doomed in self._doomed for process in doomed.processes}


def _is_crowd(roots: Iterable[int]) -> bool:
    """Whether so many processes are there, or below them, that they have to be stopped to be looked at."""
    queue = list(roots)
    for pid in queue:  # grows while it is walked
        if len(queue) >= CROWD:
            break
        queue.extend(tree.child_pids(pid))
    return len(queue) >= CROWD
