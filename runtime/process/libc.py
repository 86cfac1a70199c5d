"""System calls about processes that Python has no function for: prctl(2), ptrace(2), tgkill(2)."""

from __future__ import annotations

import ctypes
import errno
import os

_PR_SET_CHILD_SUBREAPER = 36
_PTRACE_DETACH = 17

try:
    LIBC: ctypes.CDLL | None = ctypes.CDLL(None, use_errno=True)
except OSError:
    LIBC = None


def prctl(option: int, value: int) -> bool:
    """Set an option of this process (prctl(2)). Return False where that is not available."""
    if LIBC is None or not hasattr(LIBC, "prctl"):
        return False
    return bool(LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0)


def become_subreaper() -> bool:
    """Make this process the subreaper of its descendants (prctl(2)). Return False where that is not available."""
    return prctl(_PR_SET_CHILD_SUBREAPER, 1)


def stop_tracing(pid: int, signum: int) -> None:
    """Detach from a child that called PTRACE_TRACEME and was stopped by a signal, and deliver that signal to it."""
    if LIBC is not None:
        LIBC.ptrace(_PTRACE_DETACH, ctypes.c_long(pid), ctypes.c_void_p(0), ctypes.c_void_p(signum))


def signal_thread(pid: int, thread: int, signum: int) -> None:
    """Signal one thread of a child that is not waited for (tgkill(2)), or at least its process.

    Raises ProcessLookupError when there is no such thread, or the process is a zombie.
    """
    if LIBC is not None and hasattr(LIBC, "tgkill"):
        if LIBC.tgkill(pid, thread, int(signum)) == 0:
            return
        if ctypes.get_errno() == errno.ESRCH:
            raise ProcessLookupError(errno.ESRCH, "no such thread")
    if thread == pid:
        os.kill(pid, signum)  # also where a sandbox refuses tgkill
