"""Agents that hold the interpreter's lock for long, at work and asleep."""

from __future__ import annotations

import ctypes
import time
from typing import Any

from runtime import ExecutionState


def compute(seconds: float) -> None:
    """Use the processor for so long in one C call that never gives the lock away."""
    count = 1 << 16
    while True:
        began = time.thread_time()
        sum(range(count))
        used = time.thread_time() - began
        if used > 0.05:
            sum(range(int(count * seconds / used)))
            return
        count *= 2


def work(task: Any, state: ExecutionState) -> str:
    """Longer than the tests' --heartbeat-timeout."""
    compute(8.0)
    return "done"


def doze(task: Any, state: ExecutionState) -> str:
    """Hold the lock and do nothing, as a deadlock does."""
    ctypes.PyDLL(None).sleep(60)
    return "woken"
