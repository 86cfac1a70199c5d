"""An executor as the guardian, its parent, knows it: its process, its descriptors, and who descends from it."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field

from runtime.ipc.flag import InterruptFlag
from runtime.ipc.guardian_protocol import STACK_DUMP_SIGNAL
from runtime.process import tree
from runtime.process.descendants import Descendants

STOP_SECONDS = 0.3
"""At most so long all below an executor is looked for and stopped before it is killed."""

LOOK_SECONDS = 0.05
"""At most so long is looked for what is below an executor before SIGTERM."""


@dataclass
class ExecutorProcess:
    """One incarnation of an executor. `output`: the guardian's ends of its standard output and error.

    Its parent has not waited for it: its pid is its own.
    """

    slot: int
    incarnation: int
    pid: int
    output: list[int]
    since: float = field(default_factory=time.monotonic)
    descendants: list[tree.Process] = field(default_factory=list)

    def signal(self, signum: int) -> None:
        """To the executor's main thread; its descendants come when it has ended, or with `kill`.

        A signal to the process goes to any thread that has none pending: one that an agent's own thread takes does not
        end the system call that the main thread is in.
        """
        with suppress(OSError):  # it is gone, or (setuid) not ours to signal
            tree.signal_main_thread(self.pid, signum)

    def terminate(self, flag: InterruptFlag) -> None:
        """The TERM rung.

        Before SIGTERM it is asked where it is. The mark comes first of all: either signal can end a system call of the
        agent's C code, and what that then returns must not pass for a result (TaskRunner). A stopped process takes no
        SIGTERM before SIGCONT.
        """
        flag.mark_term(self.slot)
        self._snapshot_descendants()
        for signum in (STACK_DUMP_SIGNAL, signal.SIGTERM, signal.SIGCONT):
            self.signal(signum)

    def kill(self) -> None:
        """The KILL rung: it and all below it, which is stopped first, so that nobody multiplies meanwhile."""
        below = Descendants(lambda: [self.pid])
        below.stop(time.monotonic() + STOP_SECONDS)
        self._snapshot_descendants()
        below.kill()
        tree.send_signal(self.descendants, signal.SIGKILL)
        self.signal(signal.SIGKILL)

    def _snapshot_descendants(self) -> None:
        """Snapshot the tree before a signal: once the parent is dead its children are nobody's (circus#1044).

        Not for long: below a fork bomb there is no end of it, and the guardian finds orphans by other means, too.
        """
        before = set(self.descendants)
        found = tree.children(self.pid, until=time.monotonic() + LOOK_SECONDS)
        self.descendants.extend(process for process in found if process not in before)
