"""The signals that the supervisor, the guardian and the executors agree on."""

from __future__ import annotations

import signal
from collections.abc import Iterable

STACK_DUMP_SIGNAL = int(signal.SIGRTMAX) - 2 if hasattr(signal, "SIGRTMAX") else int(signal.SIGUSR1)
"""Has a thread of an executor that runs no Python code write its Python stack, before SIGTERM (executor_process.py).

Its number is higher than SIGTERM's: of two that are pending the kernel delivers the lower one first, and that one's
flags decide whether a system call is begun again (signal(7)). faulthandler's say so (SA_RESTART); SIGTERM's must not,
or the rung's exception waits for the call to end.
"""

STACK_DUMP_SIGNALS = frozenset({STACK_DUMP_SIGNAL, int(signal.SIGUSR1)})
"""People know the other one. The guardian blocks both, so that neither ends an executor that cannot answer yet."""


def signals_of(names: Iterable[str]) -> list[signal.Signals]:
    """Return the signals of these names (`SIGUSR1`) that this host has."""
    return [signal.Signals[name] for name in names if hasattr(signal, name)]


MAIN_THREAD_SIGNALS = STACK_DUMP_SIGNALS | {signal.SIGINT, signal.SIGHUP, signal.SIGTERM}
"""Signals that an executor's other threads block."""
