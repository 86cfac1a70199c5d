"""Agents whose descendants multiply, or come and go, more quickly than they can be looked at. Loaded by path."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from runtime import ExecutionState
from tests.support.eof import hold
from tests.support.sync import announce


def detached(task: dict[str, str], state: ExecutionState) -> str:
    """Start what the task names, detached and deaf to SIGTERM, and wait for the end of the run."""
    child = os.fork()
    if child == 0:
        try:
            _begin(task)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    state.sleep(60)
    return "never"


def _begin(task: dict[str, str]) -> None:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        hold(task["proof"])
        step = os.setsid if task["sessions"] == "many" else lambda: None
        KINDS[task["kind"]](lambda: announce(task["post"], task["kind"]), step)


def _bomb(ready: Callable[[], None], step: Callable[[], object]) -> None:
    """Every process forks for ever; at the limit it tries again and again, and says once that it has met it."""
    is_full = False
    while True:
        try:
            if os.fork() == 0:
                step()
        except OSError:
            if not is_full:
                is_full = True
                ready()


def _chain(ready: Callable[[], None], step: Callable[[], object]) -> None:
    """Each process forks the next one and exits."""
    links = 0
    while True:
        if os.fork():
            os._exit(0)
        if links == 20:
            ready()
        links += 1
        step()


def _slow_chain(ready: Callable[[], None], step: Callable[[], object]) -> None:
    """Likewise, but each lives for a millisecond."""

    def slow_step() -> None:
        step()
        time.sleep(0.001)

    _chain(ready, slow_step)


KINDS = {"bomb": _bomb, "chain": _chain, "slow chain": _slow_chain}
