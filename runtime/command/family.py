"""The processes of one command: its group, its descendants, and what has detached itself from both."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import Final

from runtime.process import marks, tree
from runtime.process.descendants import Descendants, end_repeatedly
from runtime.stop_limits import DESCENDANTS_TIMEOUT, STRAY_GRACE

MARK: Final = "QUIESCE_TASK"
"""The variable by which processes of one attempt are recognised: the number of the task and of the attempt."""

_LOOK: Final = 0.02
"""Seconds between two looks at processes that were sent SIGTERM."""


class Family:
    """`pid`: the command, which leads its process group and is not reaped yet. `mark`: its value of MARK.

    Orphans are children of the guardian (the subreaper), which is this process's parent. Where there is no subreaper
    they are not found here; the last look of the run finds them.
    """

    def __init__(self, pid: int, mark: str) -> None:
        self.pid = pid
        self._mark = mark

    def signal_group(self, signum: int) -> None:
        """Signal the command's process group, and continue it: a process that is stopped takes no signal."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signum)
            if signum not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP):
                os.killpg(self.pid, signal.SIGCONT)

    def processes(self) -> list[tree.Process]:
        """Return the living processes: the command, its descendants, and those that were detached."""
        return [*tree.processes([self.pid]), *tree.children(self.pid), *self.detached()]

    def detached(self) -> list[tree.Process]:
        """Return the living processes of the command that are no descendants of it any more."""
        found: list[tree.Process] = []
        for pid in self._orphans():
            found += [*tree.processes([pid]), *tree.children(pid)]
        return found

    def _orphans(self) -> list[int]:
        return [pid for pid in tree.child_pids(os.getppid()) if pid != os.getpid() and self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        with suppress(OSError):
            if os.getpgid(pid) == self.pid:
                return True
        return marks.variable_of(pid, MARK) == self._mark

    def terminate(self) -> None:
        """Send SIGTERM to all of them."""
        tree.send_signal(self.processes(), signal.SIGTERM)

    def kill(self) -> None:
        """Stop all of them, so that none can fork, and kill them."""
        below = Descendants(lambda: [self.pid])
        below.stop(time.monotonic() + DESCENDANTS_TIMEOUT)
        self.signal_group(signal.SIGKILL)  # forks in progress included
        below.kill()
        if self.detached():
            end_repeatedly(self.detached, time.monotonic() + DESCENDANTS_TIMEOUT)

    def has_group(self) -> bool:
        """Return whether the group has a process, after the command itself was reaped. One system call."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    async def end_leftovers(self) -> int:
        """End what is left after the command was reaped: SIGTERM, and SIGKILL after STRAY_GRACE. Return how many."""
        left = self.detached()
        if not left:
            return 0
        count = len(left)
        tree.send_signal(left, signal.SIGTERM)
        for _ in range(int(STRAY_GRACE / _LOOK)):
            left = list(filter(tree.is_running, left))
            if not left:
                break
            await asyncio.sleep(_LOOK)
        tree.send_signal(self.detached(), signal.SIGKILL)
        return count
