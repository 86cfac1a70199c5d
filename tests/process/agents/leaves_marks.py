"""Agents that change the process they run in, and say what they found when they began."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from runtime import ExecutionState

BEGAN_IN = os.getcwd()


def found() -> dict[str, Any]:
    """The process as a task meets it."""
    return {
        "pid": os.getpid(),
        "cwd": os.getcwd() == BEGAN_IN,
        "umask": _umask(),
        "timers": [signal.getitimer(which) for which in (0, 1, 2)],
        "handlers": [_name(signal.getsignal(number)) for number in range(1, 65) if number not in (32, 33)],
        "mask": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
        "limits": [resource.getrlimit(number) for number in range(16)],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "uid": os.geteuid(),
        "root": os.path.exists(sys.executable),
        "faulthandler": faulthandler.is_enabled(),
        "environment": os.environ.get("LEFT_BY_A_TASK"),
    }


def change(what: str) -> None:
    """Change one thing."""
    deeds: dict[str, Callable[[], object]] = {
        "cwd": lambda: os.chdir("/"),
        "umask": lambda: os.umask(0o7),
        "alarm": lambda: signal.alarm(1),
        "timer": lambda: signal.setitimer(signal.ITIMER_REAL, 1, 1),
        "profile timer": lambda: signal.setitimer(signal.ITIMER_PROF, 0.05, 0.05),
        "handler": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        "ignored": lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL),
        "stacks": lambda: signal.signal(signal.SIGUSR1, signal.SIG_DFL),
        "mask": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM}),
        "soft limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, _hard())),
        "faulthandler": faulthandler.disable,
        "watchdog": lambda: faulthandler.dump_traceback_later(1, exit=True),
        "environment": lambda: os.environ.__setitem__("LEFT_BY_A_TASK", "yes"),
        "hard limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
        "nice": lambda: os.nice(1),
        "uid": lambda: os.setresuid(65534, 65534, 65534),
        "root": lambda: os.chroot("/proc/self/task"),
        "nothing": lambda: None,
    }
    deeds[what]()


def _umask() -> int:
    mask = os.umask(0o77)
    os.umask(mask)
    return mask


def _name(handler: Any) -> str:
    return getattr(handler, "__name__", str(handler))


def _hard() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def work(task_input: str, state: ExecutionState) -> dict[str, Any]:
    """Look, then change what the input names; `+` waits a little first, so that what rings later may ring."""
    if task_input.startswith("+"):
        state.sleep(1.5)
    before = found()
    change(task_input.lstrip("+"))
    return before


async def work_async(task_input: str, state: ExecutionState) -> dict[str, Any]:
    """Likewise."""
    if task_input.startswith("+"):
        await asyncio.sleep(1.5)
    before = found()
    change(task_input.lstrip("+"))
    return before
