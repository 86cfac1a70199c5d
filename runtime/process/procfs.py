"""Find out what /proc shows of other processes (proc(5), pid_namespaces(7)).

A /proc belongs to the PID namespace that it was mounted in. In another namespace its pids are those of other processes:
looking up a pid of this namespace there, or signalling a pid from there, hits an unrelated process. So a /proc that
does not know this process by its own pid is not used.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from runtime.capabilities import Visibility


def stat_fields(pid: int, thread: int | None = None) -> list[bytes]:
    """Return the fields of /proc/PID/stat behind the name, the state first (proc(5)); of one thread if it is given.

    One small read that never waits for the process's memory. Empty if the process is gone or is not shown.
    """
    path = f"/proc/{pid}/stat" if thread is None else f"/proc/{pid}/task/{thread}/stat"
    with suppress(OSError), open(path, "rb") as file:
        return file.read().rpartition(b")")[2].split()
    return []


def held_signals(pid: int, thread: int) -> int:
    """Return the set of signals that are pending for a thread or blocked by it, as bits; 0 where that is not shown."""
    held = 0
    with suppress(OSError), open(f"/proc/{pid}/task/{thread}/status", "rb") as file:
        for line in file:
            if line.startswith((b"SigPnd:", b"SigBlk:")):
                held |= int(line[7:], 16)
    return held


def waits_for_disk(pid: int) -> bool:
    """Return whether a thread of a process is in uninterruptible sleep. Never blocks."""
    if not HAS_PROC:
        return False
    with suppress(OSError):
        threads = map(int, os.listdir(f"/proc/{pid}/task"))
        return any(stat_fields(pid, thread)[:1] == [b"D"] for thread in threads)
    return False


def thread_ids(pid: int) -> list[int]:
    """Return the thread ids of a process, its main thread's first; only that one where the host shows no others."""
    try:
        listed = sorted(map(int, os.listdir(f"/proc/{pid}/task"))) if HAS_PROC else []
    except (OSError, ValueError):
        listed = []
    return [pid, *(thread for thread in listed if thread != pid)]


def is_signal_held(pid: int, thread: int, signum: int) -> bool:
    """Return whether a signal is pending for a thread or blocked by it, as while its handler runs (proc(5)).

    False where the host does not say.
    """
    return bool(held_signals(pid, thread) >> (signum - 1) & 1) if HAS_PROC else False


def inspect(root: str = "/proc") -> Visibility:
    """Return what /proc shows to this process. Outside of Linux, where psutil does not need it: FULL."""
    if sys.platform != "linux":
        return Visibility.FULL
    if not os.path.exists(f"{root}/self/stat"):  # a /proc that does not know this process at all
        return Visibility.FOREIGN if _lists_processes(root) else Visibility.NONE
    if not _knows_us_by_our_pid(root):
        return Visibility.FOREIGN
    return Visibility.FULL if _can_read(f"{root}/1/stat") else Visibility.RESTRICTED  # there is always a process 1


def _lists_processes(root: str) -> bool:
    try:
        return any(name.isdecimal() for name in os.listdir(root))
    except OSError:
        return False


def _knows_us_by_our_pid(root: str) -> bool:
    """Return whether NSpid (Linux 4.1), the pids from /proc's namespace down to this one, has exactly one entry.

    A link to the same number is not enough: a process can have the same pid in both namespaces.
    """
    try:
        if os.readlink(f"{root}/self") != str(os.getpid()):
            return False
        with open(f"{root}/self/status", encoding="utf-8", errors="replace") as file:
            return all(len(line.split()) == 2 for line in file if line.startswith("NSpid:"))
    except OSError:
        return False


def _can_read(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return bool(file.read(1))
    except OSError:
        return False


VISIBILITY = inspect()
SEES_ALL = VISIBILITY is Visibility.FULL
IS_BLIND = not VISIBILITY.is_usable
"""Whether nothing may be read from /proc."""

HAS_PROC = not IS_BLIND and os.path.exists(f"/proc/{os.getpid()}/stat")
"""Whether there is a /proc (Linux) to read from."""

HAS_CHILDREN_FILES = HAS_PROC and os.path.exists(f"/proc/self/task/{os.getpid()}/children")
"""Whether the kernel lists the children of a thread (CONFIG_PROC_CHILDREN)."""
