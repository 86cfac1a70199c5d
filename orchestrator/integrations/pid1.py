"""PID 1 of a container: its signals have no default action, and whoever is orphaned becomes its child.

Two things follow. A SIGTERM that comes before the handlers stand would be dropped by the kernel (signal(7)): entry.py
catches it from its first lines on. And somebody has to wait for adopted children: those that were started by `exec`
into the container, and those of a guardian that was killed; while it lives, it is the subreaper of the run's own.

Whom this process itself started is left to those who wait for them: the guardian's pid is known, and anybody else's
children get PATIENCE seconds in which to be waited for (a `subprocess.run` in another thread waits all the time).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from orchestrator.core.status import StatusView
from runtime.process import tree

PATIENCE = 1.0
"""Seconds that a zombie may be left lying by whoever else could be about to wait for it."""


class Reaper:
    """An Observer: waits for adopted zombies. One system call a look, while there are none."""

    def __init__(self, ours: Callable[[], int | None]) -> None:
        self._ours = ours
        self._noticed: dict[tree.Process, float] = {}
        self.reaped = 0

    def __call__(self, view: StatusView) -> None:
        """Look, at `view.at` (monotonic)."""
        if not self._noticed and not tree.has_zombie():
            return
        zombies = [zombie for zombie in tree.zombies() if zombie.pid != self._ours()]
        self._noticed = {zombie: self._noticed.get(zombie, view.at) for zombie in zombies}
        for zombie, since in list(self._noticed.items()):
            if view.at - since >= PATIENCE:
                del self._noticed[zombie]
                with suppress(ChildProcessError):  # whoever started it has waited after all
                    os.waitpid(zombie.pid, os.WNOHANG)
                    self.reaped += 1


def is_pid1() -> bool:
    """Whether this process is the first of its container (or machine)."""
    return os.getpid() == 1
