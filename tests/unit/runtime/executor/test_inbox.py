"""The executor's main thread sleeps on its pipes; orders that came another way must wake it too."""

from __future__ import annotations

import gc
import os
import sys
import threading

from runtime.executor.control import ControlThread
from runtime.executor.executor import Executor, ExecutorConfig
from runtime.executor.inbox import Inbox
from runtime.executor.outbox import Outbox
from runtime.executor.stdio import StandardStreams
from runtime.ipc.executor_protocol import FinishAndExit, ReturnTasks
from runtime.ipc.flag import InterruptFlag
from runtime.ipc.guardian_protocol import Inheritance
from tests.support.wait import wait_until


def sleeps(thread: threading.Thread) -> bool:
    """Whether a thread is in poll(2), as its frame shows."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_name == "_take_orders" and "executor" in frame.f_code.co_filename


def wakes_up(flag: InterruptFlag, fds: list[int]) -> bool:
    """Whether the main loop finds an order that lies in its inbox and in no pipe, after a ReturnTasks."""
    inbox, outbox = Inbox(fds[0]), Outbox(fds[3])
    config = ExecutorConfig(0, 1, "run", 1, Inheritance(os.getpid(), [], [], b".", {}), fds[4])
    executor = Executor(config, flag, inbox, outbox, StandardStreams(0))
    fds += [*executor._wake_pipe, outbox._bell_read, outbox._bell_write]
    thread = threading.Thread(target=executor.run, daemon=True)
    thread.start()
    wait_until(lambda: sleeps(thread), what="the main loop to wait")
    inbox._orders.append(FinishAndExit())  # as the control thread's look into the pipe would
    ControlThread(
        -1, 0, flag, inbox, outbox, executor._tasks, executor._wake_main, executor.signals.interrupt_blocked_syscall
    )._execute(ReturnTasks(0))
    thread.join(10)
    return not thread.is_alive()


def test_what_the_control_thread_leaves_in_the_inbox_wakes_the_main_thread() -> None:
    """A ReturnTasks empties the orders' pipe: what it does not take back is in no pipe any more.

    Found by scripts/soak: on a loaded machine the control thread came first, and the last task of a run was
    never executed.
    """
    flag, fds = InterruptFlag(1), [*os.pipe(), *os.pipe(), *os.pipe()]
    try:
        assert wakes_up(flag, fds)
    finally:
        gc.collect()  # the executor looks at the flag's memory
        flag.close()
        for fd in fds:
            os.close(fd)
