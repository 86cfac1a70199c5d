"""Agents of a program that is patched by gevent, while it is imported, or by a task."""

from __future__ import annotations

import os
import time
from typing import Any

import gevent
from gevent import monkey

if "PATCH_EARLY" in os.environ:
    monkey.patch_all()

from runtime import ExecutionState


def patch(task_input: object, state: ExecutionState) -> int:
    """Patch everything once, and use it."""
    if not monkey.is_module_patched("threading"):
        monkey.patch_all()
    return work(task_input, state)


def work(task_input: Any, state: ExecutionState) -> int:
    """Greenlets that sleep."""
    jobs = [gevent.spawn(_sleep, number) for number in range(5)]
    gevent.joinall(jobs, raise_error=True)
    time.sleep(0.001)
    return sum(int(job.value) for job in jobs)


def _sleep(number: int) -> int:
    gevent.sleep(0.001)
    return number


def long(task_input: object, state: ExecutionState) -> None:
    """Until it is interrupted."""
    print("sleeps", flush=True)
    while True:
        state.raise_if_interrupted()
        time.sleep(0.02)


async def work_async(task_input: object, state: ExecutionState) -> int:
    """Greenlets and an event loop."""
    return work(task_input, state)
