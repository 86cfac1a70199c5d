"""What executors leave behind: found, reported, told to end, made to end; and the last look at everything.

The guardian is the child subreaper, so whatever has lost its parent is its child. It alone waits for them: until it
has, a child's pid is that child's own.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from dataclasses import dataclass

from runtime import tree
from runtime.cgroup import Leaf
from runtime.family import Family
from runtime.output import OutputEnds
from runtime.protocol import Swept

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

NAMED = 20
"""So many of what the last look finds are named."""


@dataclass
class _Doomed:
    """Processes that were told to end, and when they are made to. `output`: what they may still write to."""

    processes: list[tree.Process]
    kill_at: float
    output: list[int]


class Remains:
    """`leaf`: the cgroup that everybody is in, if there is one. `output` is closed when nobody can write any more.

    `helper`: a child that is no executor's. `keep`: orphans are left alone, unless their executor went down the ladder.
    `token`: the supervisor's, where this process is no subreaper: orphans are known by their environment alone.
    """

    def __init__(
        self, leaf: Leaf | None, output: OutputEnds, *, keep: bool, helper: int = 0, token: str | None = None
    ) -> None:
        self._leaf = leaf
        self._token = token
        self._helper = helper
        self._keep = keep
        self._output = output
        self._doomed: list[_Doomed] = []
        self._owners: dict[int, str] = {}
        self._has_killed = False

    # -- of executors -------------------------------------------------------------------------------

    def of(self, families: Sequence[Family], executors: Container[int]) -> dict[int, list[tree.Process]]:
        """Return what is left of the families of executors that are dead, by the pids that those had.

        Theirs is what is remembered, in their session, or carrying their mark. All children are read once, however many
        executors are dead: reading them for each would cost the square of their number.
        """
        left = {family.pid: dict.fromkeys(filter(tree.is_running, family.known)) for family in families}
        if not self._keep and tree.has_children():
            for executor, found in self._orphans_of(families, executors):
                left[executor] |= dict.fromkeys(found)
        return {executor: list(processes) for executor, processes in left.items()}

    def _orphans_of(
        self, families: Sequence[Family], executors: Container[int]
    ) -> Iterator[tuple[int, list[tree.Process]]]:
        """Yield our children that descend from dead executors, by session or mark, and all below each of them.

        There may be thousands, of many executors. Each is looked at once, unless it has no mark that can be read: one
        that is just being exec'd has none for a moment.
        """
        sessions = {family.pid: tree.slot_mark(family.slot, family.incarnation) for family in families}
        executors_by_mark = {mark: executor for executor, mark in sessions.items()}
        for pid in tree.child_pids(os.getpid()):
            if pid in executors or pid == self._helper:
                continue
            owner = self._owners.get(pid) or sessions.get(tree.session_of(pid) or 0) or tree.slot_of(pid)
            self._owners[pid] = owner
            if owner in executors_by_mark:
                yield executors_by_mark[owner], [*tree.processes([pid]), *tree.children(pid)]

    def doom(self, processes: list[tree.Process], output: list[int]) -> None:
        """Tell them to end. Those that have not when their grace is over are killed."""
        tree.send(processes, signal.SIGTERM, fresh=True)
        self._doomed.append(_Doomed(processes, time.monotonic() + STRAY_GRACE, output))

    def reaped(self, pid: int) -> None:
        """Somebody was waited for: from now on the number may be anybody's."""
        self._owners.pop(pid, None)

    # -- in time ------------------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """When the next of them is made to end (monotonic seconds)."""
        return min((doomed.kill_at for doomed in self._doomed), default=None)

    def kill_due(self) -> None:
        """Kill those whose grace is over."""
        now = time.monotonic()
        for doomed in tuple(self._doomed):
            if doomed.kill_at <= now:
                left = filter(tree.is_running, doomed.processes)
                family = [found for process in left for found in (process, *tree.children(process.pid))]
                tree.send(family, signal.SIGKILL)
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
    ) -> Swept:
        """End all that is left, TERM first, and look again until there are none or patience is over.

        `wait` waits so many seconds for a child's end, and reaps. `kill_by` (monotonic seconds): from then on they are
        killed before they are looked at, which takes long if they are many. `until`: nothing is waited for longer,
        unless it is just ending.
        """
        if self._keep:  # an executor that is still there is one that nothing ends
            return Swept(0, 0, list(map(tree.describe, tree.processes(executors))))
        if self._is_alone():
            return Swept(0, 0, [])
        found: dict[int, str] = {}
        began = time.monotonic()
        kill_at = min(kill_by, began + STRAY_GRACE, until - KILL_SECONDS)
        left: list[tree.Process] = []
        if began < kill_at:
            told = self._told()  # once is enough: a second SIGTERM would come in the middle of the first one's handler
            left = self._notice(found)
            tree.send([process for process in left if process.pid not in told], signal.SIGTERM, fresh=True)
            if told and all(process.pid in told for process in left):
                kill_at = min(kill_at, max(doomed.kill_at for doomed in self._doomed))
        left = self._wait_for_end(left, found, wait, kill_at, until)
        remaining = list(map(tree.describe, left)) or ([] if self._is_alone() else [UNSEEN])
        ended = len(found.keys() - {process.pid for process in left})
        return Swept(len(found), ended, remaining, list(found.values())[:NAMED])

    def _wait_for_end(
        self,
        left: list[tree.Process],
        found: dict[int, str],
        wait: Callable[[float], None],
        kill_at: float,
        until: float,
    ) -> list[tree.Process]:
        """Kill from `kill_at` on, until nobody is left or patience is over. Return who is left."""
        last = max(kill_at, time.monotonic()) + KILL_PATIENCE
        fewest, seen_at = math.inf, time.monotonic()
        while (now := time.monotonic()) < last and (now < until or now < seen_at + PROGRESS_SECONDS):
            if now >= kill_at:
                self._kill_all(left)
            wait(0.02)
            left = self._notice(found)
            if not left and self._is_alone():
                break
            if len(left) < fewest:
                fewest, seen_at = len(left), time.monotonic()
        return left

    def _is_alone(self) -> bool:
        """Whether the kernel knows of no child and of nobody else in the cgroup.

        That nobody was seen does not say so: in a chain of processes that fork and exit, each is gone before its entry
        in /proc is read, and its successor is our child.
        """
        is_leaf_empty = self._leaf is None or set(self._leaf.pids()) <= {os.getpid()}
        return is_leaf_empty and not tree.has_children() and not self._marked()

    def _kill_all(self, left: list[tree.Process]) -> None:
        """The kernel does it at once where it can, also to those that are being forked.

        `left`: who was there at the last look. The first time they are the kernel's, if it can; whoever is seen again
        after that is not in the cgroup.
        """
        if self._leaf is None or self._has_killed:
            tree.send(left or tree.children(), signal.SIGKILL, fresh=True)
        if self._leaf is not None:
            self._leaf.leave()  # it would end us too
            self._leaf.kill()
            self._has_killed = True

    def _notice(self, found: dict[int, str]) -> list[tree.Process]:
        """Who is there now. `found`: those of them that nobody has told of, by pid."""
        left = tree.children()
        known = {process.pid for process in left} | {os.getpid()}
        if self._leaf is not None:
            left += tree.processes(pid for pid in self._leaf.pids() if pid not in known)
        left += [process for process in self._marked() if process not in left]
        told = self._told()
        for process in left:
            if process.pid not in told and process.pid not in found:
                found[process.pid] = tree.describe(process) if len(found) < NAMED else ""
        return left

    def _marked(self) -> list[tree.Process]:
        """Return those that carry the supervisor's token: where orphans become another process's children."""
        if self._token is None:
            return []
        return tree.of_supervisor(self._token, tree.start_time(os.getpid()), [self._helper])

    def _told(self) -> set[int]:
        """Strays that were told to end, and reported, when their executor ended."""
        return {process.pid for doomed in self._doomed for process in doomed.processes}
