"""Agents that are ended from outside: one takes its time to leave, others leave processes behind. Loaded by path."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from runtime import ExecutionState
from tests.support.eof import hold
from tests.support.sync import announce, wait_for_gate


def slow_to_leave(task: dict[str, str], state: ExecutionState) -> str:
    """Say that it begins, wait for the interrupt, and leave when the gate opens. Once that is open, done at once."""
    announce(task["post"], "begun")
    try:
        state.sleep(0 if os.path.exists(task["done"]) else 60)
    finally:
        wait_for_gate(task["gate"])
        announce(task["post"], "left")
    return "done"


def leaves_a_daemon(task: dict[str, str], state: ExecutionState) -> str:
    """The first time, detach a grandchild that is deaf to SIGTERM, and wait. After that, done at once."""
    if os.path.exists(task["done"]):
        return "done"
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            hold(task["proof"])
            announce(task["post"], os.getpid())
            time.sleep(60)
        os._exit(0)
    os.waitpid(child, 0)
    state.sleep(60)
    return "never"


def swallows_beside_a_child(task: dict[str, str], state: ExecutionState) -> str:
    """Detach a child that is deaf to SIGTERM, and be deaf to everything but SIGKILL."""
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
        os._exit(0)
    announce(task["post"], "begun")
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(600)
