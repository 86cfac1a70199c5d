"""What ties a process to its parent: its death, and a stop, are noticed on either side."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from runtime.process.libc import prctl

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> bool:
    """Have the kernel kill this process when the parent's forking thread ends (prctl(2)). Return False without that.

    Closes the race between fork and prctl: when `parent` is gone already, this process ends at once.
    """
    armed = prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    return armed


def sigcont_on_parent_death() -> bool:
    """Have the kernel send SIGCONT when the parent dies: a stopped guardian takes over, too. False: not available."""
    return prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def open_parent_pidfd() -> int | None:
    """Return a descriptor that becomes readable when the parent dies (pidfd_open(2)); None where there is none."""
    parent = os.getppid()
    try:
        fd = os.pidfd_open(parent)
    except (AttributeError, OSError):
        return None
    if os.getppid() != parent:  # it died, and the pidfd may be of another process
        os.close(fd)
        return None
    return fd


def wake_parent() -> None:
    """Send SIGCONT to the parent. Its pid cannot be stale: a process that called `die_with_parent` dies with it."""
    with suppress(OSError):
        os.kill(os.getppid(), signal.SIGCONT)
