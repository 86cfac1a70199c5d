"""Agents for hosts that withhold something: one that detaches a grandchild, which may hide. Loaded by path."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Any

from runtime import ExecutionState
from tests.support.eof import hold
from tests.support.sync import announce

_PR_SET_DUMPABLE = 4


def double_or_detach(task: dict[str, Any], state: ExecutionState) -> int:
    """Double "n". Without one, detach a grandchild that is deaf to SIGTERM, say so, and wait to be interrupted.

    "hide": only root may look at the grandchild's memory, so that hidepid hides it.
    """
    if "n" in task:
        return 2 * int(task["n"])
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            _be_deaf(task)
        os._exit(0)
    os.waitpid(child, 0)
    state.sleep(1000)
    return 0


def _be_deaf(task: dict[str, Any]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if task.get("hide"):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    hold(task["proof"])
    announce(task["post"], os.getpid())
    time.sleep(60)
