"""Act as PID 1 of a container: signals have no default action, and orphaned processes become children of PID 1.

Theory: two duties follow. The kernel drops a SIGTERM that arrives before the handlers are installed (signal(7)), so
entry.py catches it in its first lines. And PID 1 must wait for adopted children: processes started by `exec` into the
container, and those of a guardian that was killed. (A living guardian is the subreaper of the run's own processes.)

The children that this process started itself are left to the code that waits for them: the guardian's pid is known,
and other children get ADOPTION_SECONDS to be waited for (a `subprocess.run` in another thread waits all the time).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from orchestrator.core.status import StatusView
from runtime.process import tree

ADOPTION_SECONDS = 1.0
"""Seconds that a zombie is left to other code that may be about to wait for it."""


class Reaper:
    """Observer that waits for adopted zombies. Makes one system call at each view while there are none."""

    def __init__(self, guardian: Callable[[], int | None]) -> None:
        self._guardian = guardian
        self._noticed: dict[tree.Process, float] = {}
        self.reaped = 0

    def __call__(self, view: StatusView) -> None:
        """Wait for the zombies that were there ADOPTION_SECONDS before `view.at` (monotonic)."""
        if not self._noticed and not tree.has_zombie():
            return
        zombies = [zombie for zombie in tree.zombies() if zombie.pid != self._guardian()]
        self._noticed = {zombie: self._noticed.get(zombie, view.at) for zombie in zombies}
        for zombie, since in list(self._noticed.items()):
            if view.at - since >= ADOPTION_SECONDS:
                del self._noticed[zombie]
                with suppress(ChildProcessError):  # the code that started it has waited for it meanwhile
                    os.waitpid(zombie.pid, os.WNOHANG)
                    self.reaped += 1


def is_pid1() -> bool:
    """Return whether this process is the first of its container or machine."""
    return os.getpid() == 1
