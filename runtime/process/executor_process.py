"""An executor as its parent, the guardian, knows it: its process, its descriptors and its descendants."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field

from runtime.ipc.flag import InterruptFlag
from runtime.ipc.signals import STACK_DUMP_SIGNAL
from runtime.process import libc, procfs, tree
from runtime.process.descendants import Descendants
from runtime.stop_limits import DESCENDANTS_TIMEOUT, STACKS_TIMEOUT, TERM_SEARCH_TIMEOUT

UNRESPONSIVE_SECONDS = 3.0
"""An executor without a heartbeat for so long (three, at least) runs no Python code: C code holds the GIL."""

STACKS_LOOK = 0.001
"""Seconds between two looks at whether a thread of such an executor has written its stack."""


@dataclass
class ExecutorProcess:
    """One incarnation of an executor. `output`: the guardian's ends of its standard output and error.

    The guardian has not reaped it, so its pid cannot be stale.
    """

    slot: int
    incarnation: int
    pid: int
    output: list[int]
    since: float = field(default_factory=time.monotonic)
    descendants: list[tree.Process] = field(default_factory=list)

    def signal(self, signum: int) -> None:
        """Signal the executor's main thread; its descendants are ended when it has ended, or by `kill`.

        A signal to the process goes to any thread that has none pending: one that an agent's own thread takes does not
        end the system call that the main thread is in.
        """
        with suppress(OSError):  # it is gone, or (setuid) may not be signalled
            libc.signal_thread(self.pid, self.pid, signum)

    def terminate(self, flag: InterruptFlag, *, with_stacks: bool) -> None:
        """Execute the TERM rung: mark it in the flag, ask for the stacks, send SIGTERM and SIGCONT.

        Before SIGTERM it is asked for its stacks, if these say what did not react in time. The mark comes first of
        all: either signal can end a system call of the agent's C code, and what that then returns must not pass for a
        result (TaskRunner). A stopped process takes no SIGTERM before SIGCONT.
        """
        flag.mark_term(self.slot)
        self._snapshot_descendants()
        if with_stacks:
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
        until = time.monotonic() + STACKS_TIMEOUT
        for thread in procfs.thread_ids(self.pid):
            if procfs.is_signal_held(self.pid, thread, STACK_DUMP_SIGNAL):  # the executor's own, which tells nothing
                continue
            with suppress(OSError):
                libc.signal_thread(self.pid, thread, STACK_DUMP_SIGNAL)
            while procfs.is_signal_held(self.pid, thread, STACK_DUMP_SIGNAL) and time.monotonic() < until:
                time.sleep(STACKS_LOOK)

    def kill(self, flag: InterruptFlag) -> None:
        """Execute the KILL rung: stop the descendants, so that none can fork, then kill all.

        One that has not written its stacks until now does not come to it any more by itself.
        """
        if flag.are_stacks_requested(self.slot):
            self._signal_stacks()
        below = Descendants(lambda: [self.pid])
        below.stop(time.monotonic() + DESCENDANTS_TIMEOUT)
        self._snapshot_descendants()
        below.kill()
        tree.send_signal(self.descendants, signal.SIGKILL)
        self.signal(signal.SIGKILL)

    def _snapshot_descendants(self) -> None:
        """Remember the descendants before a signal: after its death nothing tells whose they were (circus#1044).

        Bounded in time: below a fork bomb the search never ends, and the guardian finds orphans by other means, too.
        """
        before = set(self.descendants)
        found = tree.children(self.pid, until=time.monotonic() + TERM_SEARCH_TIMEOUT)
        self.descendants.extend(process for process in found if process not in before)
