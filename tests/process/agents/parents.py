"""Agents for programs that start quiesce: one that is soon done, one that holds until it is interrupted, and others."""

from __future__ import annotations

import os
from typing import Any

from runtime import ExecutionState
from tests.support.sync import announce


def quick(task: Any, _state: ExecutionState) -> Any:
    """Done at once."""
    return task


def held(task: dict[str, str], state: ExecutionState) -> None:
    """Say that it has begun, then wait to be interrupted."""
    announce(task["post"], os.getpid())
    while True:
        state.sleep(60)


def picky(task: dict[str, Any], _state: ExecutionState) -> Any:
    """Fail where the input says so."""
    if task.get("bad"):
        raise ValueError("bad")
    return task


def inherited(_task: Any, _state: ExecutionState) -> dict[str, Any]:
    """What a service manager gives to its service: which of it came down to here?"""
    names = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID")
    fds = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            fds[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the listing's own
            continue
    return {"variables": [name for name in names if name in os.environ], "files": fds}
