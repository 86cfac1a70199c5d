"""Agents that hold the interpreter's lock for long, at work and asleep."""

from __future__ import annotations

import ctypes
import threading
import time
from typing import Any

from runtime import ExecutionState
from tests.support.sync import announce


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


def hold_lock(task: dict[str, Any], state: ExecutionState | None = None) -> None:
    """Say so, and hold the lock in one C call for minutes."""
    announce(task["post"], "holds")
    sum(range(10**11))


def hold_lock_in_thread(task: dict[str, Any], state: ExecutionState) -> None:
    """Have another thread hold the lock."""
    threading.Thread(target=hold_lock, args=(task,), daemon=True).start()
    time.sleep(60)


def wait_beside_thread(task: dict[str, Any], state: ExecutionState) -> None:
    """Wait, deaf to the flag, while another thread waits, too."""

    def wait_in_thread() -> None:
        announce(task["post"], "waits")
        time.sleep(60)

    threading.Thread(target=wait_in_thread, daemon=True).start()
    time.sleep(60)
