"""Hold back the start of commands: --delay, --load, --memfree."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import Final

from runtime.command.spec import CommandSetup

LOOK: Final = 0.5
"""Seconds between two looks at a host that is too busy."""


class StartGate:
    """Let one command pass after the other. Without a condition it costs nothing."""

    def __init__(self, setup: CommandSetup) -> None:
        self._delay, self._load, self._memfree = setup.delay, setup.load, setup.memfree
        self._next = 0.0
        self._lock = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Return whether there is no condition."""
        return not self._delay and self._load is None and self._memfree is None

    async def enter(self) -> None:
        """Wait until a command may start."""
        async with self._lock:
            now = time.monotonic()
            if now < self._next:
                await asyncio.sleep(self._next - now)
            while self._is_busy():  # noqa: ASYNC110 - the host says nothing: it must be looked at
                await asyncio.sleep(LOOK)
            self._next = time.monotonic() + self._delay

    def _is_busy(self) -> bool:
        if self._load is not None and (running_processes() or 0) >= self._load:
            return True
        if self._memfree is None:
            return False
        free = available_memory()
        return free is not None and free < self._memfree


def running_processes() -> int | None:
    """Return how many processes of the host run or wait for a processor, without this one; None where it is unknown."""
    with suppress(OSError, ValueError, IndexError), open("/proc/loadavg", encoding="ascii") as file:
        return int(file.read().split()[3].partition("/")[0]) - 1
    with suppress(OSError):
        return int(os.getloadavg()[0])
    return None


def available_memory() -> int | None:
    """Return the bytes that the host can give to new processes (MemAvailable); None where it is unknown."""
    with suppress(OSError, ValueError), open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return None
