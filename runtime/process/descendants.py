"""Stop, then kill, whatever descends from this process: also what multiplies while it is looked at.

*Theory.* A killed process gives its place (RLIMIT_NPROC, pids.max) to the next one that a fork bomb makes, so killing
alone never comes to an end; and a bomb leaves little processor time to whoever looks. A stopped process keeps its
place, uses no processor, and forks no more: once kill(2) with SIGSTOP has returned, each of its children is either
there to be seen, or is never made (fork(2) starts again when a signal is pending). So everything is stopped first,
parents before their children, until a whole pass finds nobody new. Then nobody runs, and all of it can be killed.

A process group is stopped and killed at once, forks in progress included, which is what ends a chain of processes that
fork and exit more quickly than one of them can be found. Only groups of other sessions than this process's own are
taken: the guardian leads a session and every executor another one, so these have been made in the run.

A pass costs a few small reads for each process that is new, and nothing for those that are known.

No pid is somebody else's: this process's own children are its own until it waits for them, and a stopped parent waits
for nobody. A child of any other process is signalled by a pidfd, after a look at who its parent is.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from runtime.process import tree


class Descendants:
    """What is below the processes that `find_roots` returns: children of this process, or such as are not waited for.

    For one thread, which is also the one that waits for children; it has to `forget` those that it has waited for.
    """

    def __init__(self, find_roots: Callable[[], Iterable[int]]) -> None:
        self._find_roots = find_roots
        self._parents: dict[int, int] = {}
        self._groups: set[int] = set()
        self._unlisted: deque[int] = deque()
        """Those that were stopped, and whose children have not been looked at since then."""
        self._is_checked = False
        self._is_released = False

    @property
    def pids(self) -> list[int]:
        """Those that have been seen and not killed yet, zombies included."""
        return list(self._parents)

    def forget(self, pid: int) -> None:
        """A child was waited for: its number may become anybody's."""
        self._parents.pop(pid, None)

    def stop(self, until: float) -> bool:
        """Stop all of them. False: at the time `until` (monotonic seconds) there were still new ones. Call it again."""
        if self._is_released:  # those that are known need not be looked for
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
                self._unlisted.extend(self._parents)  # orphans may have come to one that is a subreaper as well
            self._is_checked = not found
        return False

    def _stop_new(self, parent: int, pids: Iterable[int]) -> bool:
        """Stop those that have not been seen. Whether there were any."""
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
        """Say that somebody has continued them. The next `stop` begins with those that are known."""
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
        """Signal one of them, and its process group. False, and nothing happens, if that parent has it no more."""
        handle = None if parent == os.getpid() else _open_process(pid)
        try:
            group = _find_group(pid)
            if parent != os.getpid() and tree.parent_of(pid) != parent:
                return False
            if group is not None:
                self._signal_group(group, signum)
            with suppress(OSError):  # it is gone, or (setuid) not ours to signal
                if handle is None:
                    os.kill(pid, signum)
                else:
                    signal.pidfd_send_signal(handle, signum)
            return True
        finally:
            if handle is not None:
                os.close(handle)

    def _signal_group(self, group: int, signum: signal.Signals) -> None:
        """Signal a whole process group once. It cannot vanish meanwhile, because one of it cannot be waited for."""
        is_stopped = group in self._groups
        with suppress(OSError):
            if signum == signal.SIGSTOP and not is_stopped:
                self._groups.add(group)
                os.killpg(group, signum)
            elif signum == signal.SIGKILL and is_stopped:
                self._groups.discard(group)
                os.killpg(group, signum)


def _open_process(pid: int) -> int | None:
    """A pidfd; None where there is none to be had."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _find_group(pid: int) -> int | None:
    """The process group of a process; None if it is in this process's own session, or gone."""
    with suppress(OSError):
        return os.getpgid(pid) if os.getsid(pid) != os.getsid(0) else None
    return None


LAST_SECONDS = 0.3
"""When so little of its time is left, `end_repeatedly` kills also while it still finds new ones."""

LOOK_SECONDS = 0.01
"""Between two looks at what is left."""


def end_repeatedly(look: Callable[[], list[tree.Process]], until: float, *, least_looks: int = 1) -> list[tree.Process]:
    """Stop whoever `look` finds until a look finds nobody new, then kill them; again and again, until none are found.

    For those that are no descendants of this process. Who was still there at the time `until` (monotonic seconds), and
    at the last of the `least_looks`.
    """
    stopped: set[tree.Process] = set()
    looks = 1
    while (left := look()) and (looks < least_looks or time.monotonic() < until):
        looks += 1
        if not _stop_or_kill(left, stopped, until):
            time.sleep(LOOK_SECONDS)
    tree.send_signal(left, signal.SIGKILL)  # a look may take longer than there is: what was stopped must not stay so
    return left


def _stop_or_kill(left: Sequence[tree.Process], stopped: set[tree.Process], until: float) -> bool:
    """Stop those that are not among the `stopped` yet; kill all if there are none, or little time. True: look again."""
    new = [process for process in left if process not in stopped]
    if new and time.monotonic() < until - LAST_SECONDS:
        tree.send_signal(new, signal.SIGSTOP)
        stopped.update(new)
        return True
    tree.send_signal(left, signal.SIGKILL)
    return False
