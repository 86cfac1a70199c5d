"""The executor's control thread: it reads the control pipe, writes the heartbeat and requested stacks, and flushes.

It cannot run while the process is stopped or C code holds the GIL: its missing heartbeat tells the supervisor so.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from runtime import native
from runtime.errors import ExecutionInterrupted, WireError
from runtime.executor.garbage import end_executor
from runtime.executor.inbox import Inbox
from runtime.executor.loop_watch import BLOCKED_SECONDS
from runtime.executor.outbox import Outbox
from runtime.executor.requested_stacks import write_requested_stacks
from runtime.executor.task_runner import TaskRunner
from runtime.ipc.executor_protocol import Control, Interrupt, ReturnTasks, TaskDone, TasksReturned, UndoHeld
from runtime.ipc.flag import InterruptFlag
from runtime.ipc.frames import FrameReader
from runtime.ipc.signals import MAIN_THREAD_SIGNALS
from runtime.plain_signal import decode_signal
from runtime.process import descendants, parent_process

ORPHAN_LOOK = 0.25
"""Seconds between looks at the guardian, once the supervisor is gone."""

EARLY_SECONDS, EARLY_LOOK = 10.0, 0.02
"""Seconds that an interrupt waits for a task that it has overtaken, and seconds between two searches (also for the
threads that a task has left)."""


class ControlThread:
    """`wake_main`: have the main thread look at its inbox again. `nudge_main`: see Executor. `heartbeat`: seconds
    between two signs of life, at most.

    Orders that this thread has read into the inbox are in no pipe any more, so no pipe wakes the main thread for them.
    """

    def __init__(
        self,
        fd: int,
        slot: int,
        flag: InterruptFlag,
        inbox: Inbox,
        outbox: Outbox,
        tasks: TaskRunner,
        wake_main: Callable[[], None],
        nudge_main: Callable[[], None],
        key: int = 0,
        *,
        heartbeat: float = 1.0,
    ) -> None:
        self._fd = fd
        self._key = key
        self._heartbeat = heartbeat
        self._slot = slot
        self._flag = flag
        self._inbox = inbox
        self._outbox = outbox
        self._tasks = tasks
        self._wake_main = wake_main
        self._nudge_main = nudge_main
        self._pending_interrupts: dict[Interrupt, float] = {}

    def start(self) -> threading.Thread:
        """Start the thread, a daemon, so that the process's exit does not wait for it."""
        thread = threading.Thread(target=self._run, name="quiesce-control", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        """Execute control orders until the pipe ends, which means that the supervisor is gone.

        Signals are blocked here: one that this thread took would not end the system call that the main thread is in,
        and the TERM rung's exception would wait for its return. The kernel does give it to this thread when the main
        thread has another signal pending, as it has when its stacks were just asked for.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, MAIN_THREAD_SIGNALS)
        guardian = os.getppid()
        with suppress(OSError):  # the agent closed it
            self._obey_orders()
        while True:  # the guardian ends everything, unless it is stopped itself
            if os.getppid() != guardian:  # it was killed, and this process has changed its user (PR_SET_PDEATHSIG)
                descendants.end_with_descendants()
            parent_process.wake_parent()
            write_requested_stacks(self._flag, self._slot, None)
            native.sleep(ORPHAN_LOOK)

    def _obey_orders(self) -> None:
        reader: FrameReader[Control] = FrameReader(Control, key=self._key)
        poll = native.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._outbox.fileno(), select.POLLIN)
        flush_in: float | None = None
        while True:
            ready = dict(poll.poll(1000 * self._patience(flush_in)))
            self._flag.heartbeat(self._slot)
            write_requested_stacks(self._flag, self._slot, None)
            self._nudge_main()
            if flush_in is not None or self._outbox.fileno() in ready:
                flush_in = self._outbox.flush_stale()
            self._report_blocked_loop()
            if self._pending_interrupts:
                self._retry_pending_interrupts()
            if self._tasks.lingering.must_look and self._tasks.lingering.look():
                self._wake_main()
            if self._fd not in ready:
                continue
            data = os.read(self._fd, 1 << 16)
            if not data:
                return
            try:
                for order in reader.feed(data):
                    self._execute(order)
            except WireError as error:
                end_executor(self._outbox, "control", str(error))

    def _report_blocked_loop(self) -> None:
        """Report a blocked loop before any order is executed: a task is not to blame for another one's step."""
        reports = self._tasks.loop_watch.look(time.monotonic())
        if reports:
            self._outbox.send(*reports)

    def _execute(self, order: Control) -> None:
        if isinstance(order, Interrupt):
            if not self._interrupt(order):
                self._pending_interrupts[order] = time.monotonic() + EARLY_SECONDS
        elif isinstance(order, UndoHeld):
            self._tasks.undo.accept(order.task, order.number)
        elif isinstance(order, ReturnTasks):
            self._outbox.send(TasksReturned(self._inbox.revoke(order.count)))
            self._wake_main()

    def _interrupt(self, order: Interrupt) -> bool:
        """Interrupt the order's task. Return whether it was found, waiting or running."""
        if self._inbox.cancel(order.task, order.attempt):
            error = str(ExecutionInterrupted(decode_signal(order.signal)))
            self._outbox.send(
                TaskDone(order.task, "interrupted", None, "", error, None, time.time(), 0.0, order.signal)
            )
            self._wake_main()
            return True
        in_hand = self._inbox.in_progress(order.task, order.attempt)
        if in_hand is not None:
            self._tasks.interrupt(in_hand, decode_signal(order.signal))
        return in_hand is not None

    def _patience(self, flush_in: float | None) -> float:
        patience = self._heartbeat if flush_in is None else flush_in
        if self._tasks.loop_watch.is_watching:
            patience = min(patience, BLOCKED_SECONDS)
        return min(patience, EARLY_LOOK) if self._pending_interrupts or self._tasks.lingering.must_look else patience

    def _retry_pending_interrupts(self) -> None:
        """Retry interrupts that overtook their task (which is larger than a pipe) or came after its end."""
        for order, until in tuple(self._pending_interrupts.items()):
            if self._interrupt(order) or time.monotonic() > until:
                del self._pending_interrupts[order]
