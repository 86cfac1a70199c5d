"""Find, describe and signal processes.

A process is always pid *and* create time, never a bare pid (psutil#2400): between finding and signalling it, the pid
can be reused. Where the kernel has pidfds they close the rest of that gap.

Without a /proc of this PID namespace (procfs.py) psutil is not used: it would find unrelated processes. This process's
own children, and processes with a pidfd, are known all the same (unlisted.py); of others nothing is known.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from runtime.process import procfs, unlisted
from runtime.process.psutil_later import psutil
from runtime.process.unlisted import HAS_WAITID, UnlistedProcess, is_child
from runtime.reasons import escape_surrogates

Process: TypeAlias = "psutil.Process | UnlistedProcess"
"""A process: pid and create time, or a child or pidfd."""


def session_of(pid: int) -> int | None:
    """Return the session id of a process, or None if it is gone."""
    try:
        return os.getsid(pid)
    except OSError:
        return None


def start_time(pid: int) -> int:
    """Return the start time of a process in ticks since boot; 0 if it is gone or unknown."""
    with suppress(ValueError, IndexError):
        return int(procfs.stat_fields(pid)[19]) if procfs.HAS_PROC else 0
    return 0


def parent_of(pid: int) -> int | None:
    """Return the parent's pid, or None if the process is gone."""
    if not procfs.HAS_PROC:
        with suppress(psutil.Error, OSError):
            return psutil.Process(pid).ppid()
        return None
    with suppress(ValueError, IndexError):
        return int(procfs.stat_fields(pid)[1])
    return None


def children(pid: int | None = None, *, recursive: bool = True, until: float = math.inf) -> list[Process]:
    """Return the living descendants of a process (default: of this one), parents before their children.

    Without /proc only children of this process are known. The search ends at `until` (monotonic seconds).
    """
    root = os.getpid() if pid is None else pid
    if not procfs.HAS_CHILDREN_FILES and not procfs.IS_BLIND:
        try:
            return [each for each in psutil.Process(root).children(recursive=recursive) if is_running(each)]
        except psutil.Error:
            return []
    pids = child_pids(root)
    if recursive:
        for each in pids:  # grows while it is walked: breadth first
            if time.monotonic() >= until:
                break
            pids.extend(child_pids(each))
    return processes(itertools.takewhile(lambda _: time.monotonic() < until, pids))


def child_pids(pid: int) -> list[int]:
    """Return the pids of a process's children, zombies included, from the kernel's list of each thread's children.

    They cost one read a thread; psutil must read every process of the host, and does that for every call.
    """
    found: list[int] = []
    if procfs.IS_BLIND:
        return unlisted.child_pids() if pid == os.getpid() else found
    if not procfs.HAS_CHILDREN_FILES:
        with suppress(psutil.Error):
            found = [child.pid for child in psutil.Process(pid).children()]
        return found
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with (
                suppress(OSError),
                open(f"/proc/{pid}/task/{thread}/children", encoding="utf-8") as file,
            ):
                found.extend(map(int, file.read().split()))
    return found


def processes(pids: Iterable[int]) -> list[Process]:
    """Return the processes with these pids that still exist."""
    found: list[Process] = []
    for pid in pids:
        process = _listed(pid) or _unlisted(pid)
        if process is not None:
            found.append(process)
    return found


def _listed(pid: int) -> Process | None:
    """Return the process as /proc has it, unless it is a zombie there."""
    if procfs.IS_BLIND:
        return None
    try:
        process = psutil.Process(pid)
    except psutil.Error:
        return None
    return None if _is_zombie(process) else process


def _unlisted(pid: int) -> Process | None:
    """Return a process that /proc hides."""
    if procfs.SEES_ALL:
        return None
    try:
        process = UnlistedProcess(pid)
    except OSError:
        return None
    return process if process.is_running() else None


def _is_zombie(process: Process) -> bool:
    """Return whether a process that was found just now is a zombie. One small read where psutil makes several."""
    if not procfs.HAS_PROC:
        return not is_running(process)
    return procfs.stat_fields(process.pid)[:1] in ([], [b"Z"], [b"X"])


def has_children() -> bool:
    """Return whether this process has any child at all, a zombie included. One system call.

    True where that is unknown: waitid(2) is refused, and there is no /proc.
    """
    if not HAS_WAITID:
        return procfs.IS_BLIND or bool(child_pids(os.getpid()))
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def has_zombie() -> bool:
    """Return whether a child has ended and was not reaped yet. One system call; the child is not reaped."""
    return unlisted.zombie_pid() is not None if HAS_WAITID else bool(zombies())


def zombies() -> list[Process]:
    """Return the children that have ended and were not reaped yet; without /proc, one of them."""
    if procfs.IS_BLIND:
        pid = unlisted.zombie_pid()
        return [] if pid is None else [UnlistedProcess(pid)]
    found: list[Process] = []
    with suppress(psutil.Error):
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if child.status() == psutil.STATUS_ZOMBIE:
                    found.append(child)
    return found


def is_stopped(process: Process) -> bool:
    """Return whether a signal or a tracer has stopped a process."""
    if isinstance(process, UnlistedProcess):
        return process.is_stopped()
    try:
        return bool(process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP))
    except psutil.Error:
        return False


def is_running(process: Process) -> bool:
    """Return whether a process still exists and is not a zombie."""
    if isinstance(process, UnlistedProcess):
        return process.is_running()
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def pid_exists(pid: int) -> bool:
    """Return whether another process with this pid exists."""
    return pid != os.getpid() and bool(processes([pid]))


def send_signal(processes: Iterable[Process], signum: int, *, fresh: bool = False) -> int:
    """Signal processes, leaves first, each only if its pid is not stale; SIGTERM is followed by SIGCONT.

    A stopped process takes no SIGTERM before it is continued. `fresh`: the processes were listed just now, so that the
    pids of children cannot be stale. Return how many were signalled: some may not be (setuid).
    """
    sent: list[Callable[[int], None]] = []
    for process in reversed(list(processes)):
        with suppress(psutil.Error, OSError):
            deliver: Callable[[int], None] = process.send_signal
            if fresh and is_child(process.pid):
                deliver = partial(os.kill, process.pid)
            deliver(signum)
            sent.append(deliver)
    if signum == signal.SIGTERM:
        for deliver in sent:  # afterwards: a crowd that continues leaves no processor time for the others
            with suppress(psutil.Error, OSError):
                deliver(signal.SIGCONT)
    return len(sent)


def describe(process: Process) -> str:
    """Return `pid (command line)`, shortened, for a log line."""
    if isinstance(process, UnlistedProcess):
        return f"{process.pid} (not shown by /proc)"
    try:
        words = "" if procfs.waits_for_disk(process.pid) else " ".join(process.cmdline())
    except psutil.Error:
        words = "?"
    return f"{process.pid} ({escape_surrogates(words or _short_name(process))[:80]})"


def _short_name(process: psutil.Process) -> str:
    """Return the kernel's name of a process; psutil's is longer, but reading it touches the process's memory."""
    if not procfs.HAS_PROC:
        with suppress(psutil.Error):
            return str(process.name())
    with suppress(OSError), open(f"/proc/{process.pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return "?"
