"""A wall clock that jumps: a small library of our own in front of the C library's (clock.c), where there is a compiler.

Rejected: libfaketime. It keeps a segment and a semaphore in /dev/shm, which a killed process leaves there, and makes
sleeps on the monotonic clock fail.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from tests.support.chaos.places import run

_SOURCE = Path(__file__).with_suffix(".c")
_OFFSET = struct.Struct("=q")


@dataclass(frozen=True)
class Clock:
    """The clock of all processes that are started with `environment`."""

    library: Path
    offset: Path

    @classmethod
    def build(cls, folder: Path) -> Clock | None:
        """Make one in a folder. None where this host has no C compiler."""
        clock = cls(folder / "clock.so", folder / "clock")
        clock.jump(0)
        made = run("cc", "-shared", "-fPIC", "-o", os.fspath(clock.library), os.fspath(_SOURCE))
        return clock if made else None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its own to live by it."""
        return {"LD_PRELOAD": os.fspath(self.library), "CHAOS_CLOCK": os.fspath(self.offset)}

    def jump(self, seconds: int) -> None:
        """From now on the clock is so much ahead, or behind if negative."""
        fd = os.open(self.offset, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(fd, _OFFSET.pack(seconds), 0)  # in place: every process has it mapped
        finally:
            os.close(fd)
