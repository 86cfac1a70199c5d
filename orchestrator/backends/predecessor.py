"""What a supervisor that was killed has left running on this machine, for the next one that takes its run up.

Its guardian is its heir, and gives the agents their grace: nobody else may begin with their tasks meanwhile. If that
was killed too, nobody looks after what the agents had detached: that is ended here.
"""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.journal import Owner
from runtime import tree
from runtime.cgroup import Leaf
from runtime.model import Severity

LOOK_SECONDS = 0.05
"""How often its guardian is looked at."""

LEAF_PATIENCE = 0.5
"""Seconds that the kernel has to let go of its cgroup."""


def leaf_name(run_id: str, token: str) -> str:
    """The cgroup of a run under one supervisor, whose pid its token begins with."""
    return f"quiesce-{run_id}-{token}"


_TOKEN = re.compile("[0-9a-f]+")

Note = Callable[[str, Severity, Mapping[str, Any]], None]


class Predecessor:
    """The supervisor that had a run before, by its pid, which nobody has any more. `token`: our own processes'."""

    def __init__(self, run_id: str, owner: Owner, token: str) -> None:
        self._run_id = run_id
        self._pid = owner.pid
        self._token = token
        self._is_elsewhere = owner.host != socket.gethostname() or tree.is_there(owner.pid)
        """On another host, or its pid is somebody else's by now, who may have a run of that name in another journal."""

    def see_off(self, note: Note, check: Callable[[], None], patience: float, *, keep_children: bool) -> None:
        """Wait until its guardian has done its work, and end what is left. `check` raises when we are to stop.

        Not for ever: `patience` in seconds.
        """
        if self._is_elsewhere:
            return
        if heirs := self._heirs(self._left()):
            note("predecessor.ending", Severity.WARNING, {"supervisor": self._pid, "guardian": heirs[0].pid})
        end = time.monotonic() + patience
        while heirs and time.monotonic() < end:
            check()
            tree.send(heirs, signal.SIGCONT)
            time.sleep(LOOK_SECONDS)
            heirs = [heir for heir in heirs if tree.is_running(heir)]
        if not keep_children:
            self._end_rest(note)

    def _end_rest(self, note: Note) -> None:
        leaves, left = self._leaves(), self._left()
        known = {process.pid for process in left}
        left += tree.processes(pid for leaf in leaves for pid in leaf.pids() if pid not in known)
        if left:
            described = [tree.describe(process) for process in left]
            for leaf in leaves:
                leaf.kill()
            tree.send(left, signal.SIGKILL)
            fields = {"supervisor": self._pid, "count": len(left), "processes": described}
            note("predecessor.strays", Severity.WARNING, fields)
        for leaf in leaves:  # also one that is empty
            leaf.remove(LEAF_PATIENCE)

    def _left(self) -> list[tree.Process]:
        return tree.of_run(self._run_id, self._pid, besides=self._token)

    @staticmethod
    def _heirs(left: Sequence[tree.Process]) -> list[tree.Process]:
        """Only a guardian has the placeholder in the place of a slot."""
        return [process for process in left if tree.slot_of(process.pid) == tree.SLOT_PLACEHOLDER]

    def _leaves(self) -> list[Leaf]:
        """Its cgroup. (A run may be called `a`, and another one `a-1`: the token must follow, and nothing else.)"""
        prefix = leaf_name(self._run_id, f"{self._pid}-")
        found = ((leaf, leaf.path.name[len(prefix) :]) for leaf in Leaf.others(prefix))
        return [leaf for leaf, rest in found if _TOKEN.fullmatch(rest) and not self._token.endswith(rest)]
