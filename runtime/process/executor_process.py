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

UNRESPONSIVE_SECONDS = 3.0
"""An executor without a heartbeat for so long (three, at least) runs no Python code: C code holds the GIL."""

STACKS_SECONDS, STACKS_LOOK = 0.25, 0.001
"""At most so long the threads of such an executor write their stacks, and how often each is looked at meanwhile."""


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
            tree.signal_thread(self.pid, self.pid, signum)

    def terminate(self, flag: InterruptFlag) -> None:
        """The TERM rung.

        Before SIGTERM it is asked for its stacks. The mark comes first of all: either signal can end a system call of
        the agent's C code, and what that then returns must not pass for a result (TaskRunner). A stopped process takes
        no SIGTERM before SIGCONT.
        """
        flag.mark_term(self.slot)
        self._snapshot_descendants()
        self.request_stacks(flag)
        for signum in (signal.SIGTERM, signal.SIGCONT):
            self.signal(signum)

    def request_stacks(self, flag: InterruptFlag) -> None:
        """Have it write the Python stacks of its threads to its standard error.

        Its own Python code does that, where it is safe (stacks.py): at the next heartbeat, or before the TERM rung's
        exception. Only one that runs no Python code is sent the signal, on which faulthandler does without the GIL.
        """
        if self._is_unresponsive(flag):
            self._signal_stacks()
        else:
            flag.request_stacks(self.slot)

    def _is_unresponsive(self, flag: InterruptFlag) -> bool:
        """Whether it has shown no heartbeat for long, although nothing stops it."""
        beat = max(flag.progress(self.slot)[2], self.since)
        if time.monotonic() - beat < UNRESPONSIVE_SECONDS:
            return False
        return not any(map(tree.is_stopped, tree.processes([self.pid])))

    def _signal_stacks(self) -> None:
        """Have each thread write its own stack, one after the other: two at once would mix their lines.

        Never all stacks from one thread: if Python code does run, the others' frames move while they are read.
        """
        until = time.monotonic() + STACKS_SECONDS
        for thread in tree.thread_ids(self.pid):
            if tree.is_signal_held(self.pid, thread, STACK_DUMP_SIGNAL):  # the executor's own, which tells nothing
                continue
            with suppress(OSError):
                tree.signal_thread(self.pid, thread, STACK_DUMP_SIGNAL)
            while tree.is_signal_held(self.pid, thread, STACK_DUMP_SIGNAL) and time.monotonic() < until:
                time.sleep(STACKS_LOOK)

    def kill(self, flag: InterruptFlag) -> None:
        """The KILL rung: it and all below it, which is stopped first, so that nobody multiplies meanwhile.

        One that has not written its stacks until now does not come to it any more by itself.
        """
        if flag.are_stacks_requested(self.slot):
            self._signal_stacks()
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
