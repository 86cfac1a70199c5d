"""Stop, then kill, every descendant of this process, also those that fork while they are searched for.

*Theory.* A killed process gives its place (RLIMIT_NPROC, pids.max) to the next one that a fork bomb makes, so killing
alone never ends; and a bomb leaves little processor time to the process that searches. A stopped process keeps its
place, uses no processor, and cannot fork: once kill(2) with SIGSTOP has returned, each of its children either can be
seen, or is never made (fork(2) starts again when a signal is pending). So every process is stopped first, parents
before their children, until a whole pass finds no new one. Then none runs, and all can be killed.

A process group is stopped and killed at once, forks in progress included, which is what ends a chain of processes that
fork and exit more quickly than one of them can be found. Only groups of other sessions than this process's own are
taken: the guardian leads a session and every executor another one, so these have been made in the run.

A pass costs a few small reads for each process that is new, and nothing for those that are known.

No pid is stale: the pid of a child cannot be reused until its parent reaps it, and a stopped parent cannot reap. A
child of any other process is signalled by a pidfd, after a check of its parent.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NoReturn

from runtime.process import procfs, tree, unlisted
from runtime.process.libc import become_subreaper
from runtime.stop_limits import EXECUTOR_END_TIMEOUT, SEARCH_LAST_MARGIN


class Descendants:
    """The processes that `find_roots` returns (children of this process, or not reaped yet), and their descendants.

    For use by one thread, which is also the one that reaps children; it must call `forget` for those that it reaps.
    """

    def __init__(self, find_roots: Callable[[], Iterable[int]]) -> None:
        self._find_roots = find_roots
        self._parents: dict[int, int] = {}
        self._groups: set[int] = set()
        self._unlisted: deque[int] = deque()
        """Processes that were stopped, and whose children have not been listed since then."""
        self._is_checked = False
        self._is_released = False

    @property
    def pids(self) -> list[int]:
        """Return the pids that were seen and not killed yet, zombies included."""
        return list(self._parents)

    def forget(self, pid: int) -> None:
        """Forget a child that was reaped: its pid may be reused."""
        self._parents.pop(pid, None)

    def stop(self, until: float) -> bool:
        """Stop all. Return False if new ones still appeared at `until` (monotonic seconds): call it again."""
        if self._is_released:  # the known ones need not be searched for
            self._is_released = False
            for pid, parent in self._parents.items():
                self._signal(pid, parent, signal.SIGSTOP)
        while time.monotonic() < until:
            found = self._stop_new(os.getpid(), self._find_roots())
            while self._unlisted and time.monotonic() < until:
                pid = self._unlisted.popleft()
                found |= self._stop_new(pid, tree.child_pids(pid))
            if not found and not self._unlisted:
                if self._is_checked:
                    return True
                self._unlisted.extend(self._parents)  # a subreaper among them may have got orphans
            self._is_checked = not found
        return False

    def _stop_new(self, parent: int, pids: Iterable[int]) -> bool:
        """Stop those that were not seen before. Return whether there were any."""
        found = False
        for pid in pids:
            if pid not in self._parents:
                found = True
                if self._signal(pid, parent, signal.SIGSTOP):
                    self._parents[pid] = parent
                    self._unlisted.append(pid)
            elif parent == os.getpid():  # it has been orphaned since then
                self._parents[pid] = parent
        return found

    def release(self) -> None:
        """Note that they were continued. The next `stop` begins with the known ones."""
        self._is_released = True
        self._is_checked = False
        self._unlisted.extend(self._parents)
        self._groups.clear()

    def kill(self) -> None:
        """Kill all that have been seen, children before their parents."""
        for pid, parent in reversed(self._parents.items()):
            self._signal(pid, parent, signal.SIGKILL)
        self._parents.clear()
        self._groups.clear()
        self._unlisted.clear()
        self._is_checked = False

    def _signal(self, pid: int, parent: int, signum: signal.Signals) -> bool:
        """Signal a process and its process group. Return False if it is no child of `parent` any more."""
        handle = None if parent == os.getpid() else _open_process(pid)
        try:
            group = _find_group(pid)
            if parent != os.getpid() and tree.parent_of(pid) != parent:
                return False
            if group is not None:
                self._signal_group(group, signum)
            with suppress(OSError):  # it is gone, or (setuid) may not be signalled
                if handle is None:
                    os.kill(pid, signum)
                else:
                    signal.pidfd_send_signal(handle, signum)
            return True
        finally:
            if handle is not None:
                os.close(handle)

    def _signal_group(self, group: int, signum: signal.Signals) -> None:
        """Signal a whole process group once. It cannot vanish meanwhile, because one of its processes is not reaped."""
        is_stopped = group in self._groups
        with suppress(OSError):
            if signum == signal.SIGSTOP and not is_stopped:
                self._groups.add(group)
                os.killpg(group, signum)
            elif signum == signal.SIGKILL and is_stopped:
                self._groups.discard(group)
                os.killpg(group, signum)


def _open_process(pid: int) -> int | None:
    """Return a pidfd of a process, or None."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _find_group(pid: int) -> int | None:
    """Return the process group of a process; None if it is in this process's own session, or gone."""
    with suppress(OSError):
        return os.getpgid(pid) if os.getsid(pid) != os.getsid(0) else None
    return None


LOOK_SECONDS = 0.01
"""Seconds between two searches."""


def end_repeatedly(look: Callable[[], list[tree.Process]], until: float, *, least_looks: int = 1) -> list[tree.Process]:
    """Stop the processes that `look` finds until it finds no new one, then kill them; repeat until it finds none.

    For processes that are no descendants of this one. Return those that were still there at `until` (monotonic
    seconds), and after at least `least_looks` searches.
    """
    stopped: set[tree.Process] = set()
    looks = 1
    while (left := look()) and (looks < least_looks or time.monotonic() < until):
        looks += 1
        if not _stop_or_kill(left, stopped, until):
            time.sleep(LOOK_SECONDS)
    tree.send_signal({*stopped, *left}, signal.SIGKILL)  # a search may outlast the limit: none may stay stopped
    return left


def _stop_or_kill(left: Sequence[tree.Process], stopped: set[tree.Process], until: float) -> bool:
    """Stop those that are not `stopped` yet; kill all if there are none, or little time. True: search again."""
    new = [process for process in left if process not in stopped]
    if new and time.monotonic() < until - SEARCH_LAST_MARGIN:
        tree.send_signal(new, signal.SIGSTOP)
        stopped.update(new)
        return True
    tree.send_signal(left, signal.SIGKILL)
    return False


def end_with_descendants() -> NoReturn:
    """Kill every descendant of this process, and the process itself."""
    try:
        if procfs.IS_BLIND:
            become_subreaper()
            unlisted.end_children(EXECUTOR_END_TIMEOUT)
        tree.send_signal(tree.children(), signal.SIGKILL)
    finally:  # in any case: a process that has changed its user may not even be able to import a codec
        os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError  # not reached
