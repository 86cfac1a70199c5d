"""The life of an executor process, from the fork of the guardian to its exit hooks."""

from __future__ import annotations

import atexit
import os
import random
import sys
import threading

from runtime.executor.child_identity import ChildIdentity, IdentityFinder
from runtime.executor.executor import Executor, ExecutorConfig
from runtime.executor.forks import reset_handlers_in_forks
from runtime.executor.garbage import end_executor
from runtime.executor.inbox import Inbox
from runtime.executor.outbox import EventPipeLost, Outbox
from runtime.executor.stdio import redirect
from runtime.ipc.executor_protocol import BROKEN, Leaving, Ready
from runtime.ipc.flag import InterruptFlag
from runtime.ipc.frames import VERSION
from runtime.ipc.inheritance import take_over
from runtime.ipc.main_module import take_over_main
from runtime.process import marks, parent_process


def run_executor(
    place: ExecutorConfig,
    flag: InterruptFlag,
    tasks_fd: int,
    control_fd: int,
    events_fd: int,
    stdout_fd: int,
    stderr_fd: int,
) -> int:
    """Run an executor and return its exit code. Signals are blocked when this is called, and handled afterwards."""
    flag.restrict(place.slot)
    os.setsid()
    marks.mark_slot(place.slot, place.incarnation)
    os.environ.update(place.environment)  # before any module of the agent reads it
    streams = redirect(stdout_fd, stderr_fd, place.pipe_key)
    random.seed()
    inheritance = place.inheritance
    take_over(inheritance)
    identity = ChildIdentity(place.slot, inheritance.pid, place.parent_fd)
    IdentityFinder(identity, inheritance.packages).install()
    take_over_main()
    outbox = Outbox(events_fd, place.pipe_key)
    inbox = Inbox(tasks_fd, place.pipe_key, lambda why: end_executor(outbox, "tasks", why))
    executor = Executor(place, flag, inbox, outbox, streams)
    executor.signals.install()
    reset_handlers_in_forks(executor.signals.handlers)
    executor.start_control_thread(control_fd)
    code = 0
    executor.warm_up()
    try:
        outbox.send(Ready(VERSION, os.getpid()))
        executor.run()
        outbox.send(Leaving())
    except EventPipeLost:
        sys.stderr.write("quiesce: the agent closed or replaced the executor's pipes; it cannot go on\n")
        code = BROKEN
    _run_exit_hooks(outbox)
    parent_process.wake_parent()  # the guardian may be stopped, and must reap this executor and perhaps take over
    return code


def _run_exit_hooks(outbox: Outbox) -> None:
    """Do what the interpreter does at exit: wait for threads and pools, run the atexit hooks, flush.

    Py_FinalizeEx does this in the same order; the guardian's fork leaves by os._exit, which does none of it. The ladder
    bounds it.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    except BaseException:  # noqa: BLE001 - one pool's hook failed: the others still run
        sys.excepthook(*sys.exc_info())
    try:
        atexit._run_exitfuncs()  # noqa: SLF001 - os._exit, which follows, runs none of them
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # the agent closed them, or their reader is gone
        pass
    outbox.close()
