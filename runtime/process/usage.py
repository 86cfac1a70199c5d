"""What processes use: memory and processor time."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

from runtime.process import procfs
from runtime.process.psutil_later import psutil
from runtime.process.tree import children


def tree_rss(pid: int) -> int:
    """Return the memory of a process and its descendants in bytes (RSS: shared pages count for each of them)."""
    return sum(map(_rss, (pid, *(process.pid for process in children(pid))))) if not procfs.IS_BLIND else 0


def memory_of_tree(pid: int, *, above: int = 0) -> int:
    """Return the memory of a process and its descendants in bytes, shared pages counted once (PSS, proc(5)).

    Where the kernel does not say (macOS, before Linux 4.14, a process of another user), its whole RSS is counted. PSS
    is never more than RSS and costs much more: while RSS is not `above` this size, RSS is returned.

    May take long: the kernel walks the page tables, and waits for the process while that changes its mappings.
    """
    rss = tree_rss(pid)
    if rss <= above or not procfs.HAS_PROC:
        return rss
    total = 0
    for each in (pid, *(process.pid for process in children(pid))):
        pss = _proportional(each)
        total += _rss(each) if pss is None else pss
    return total


def _rss(pid: int) -> int:
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def _proportional(pid: int) -> int | None:
    """Return the PSS of one process in bytes; None if it cannot be known."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return None


@dataclass(frozen=True, slots=True)
class ProcessActivity:
    """Nanoseconds of processor time that a process has used, and whether it waits for a processor or has one."""

    used: int
    is_runnable: bool


def activity(pid: int) -> ProcessActivity | None:
    """Return what a process is doing (proc(5): stat, schedstat); None where that is unknown."""
    if not procfs.HAS_PROC:
        return None
    known = _ticks_used(pid)
    if known is None:
        return None
    used, is_runnable = known  # ticks: too coarse for one that sleeps most of the time
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/schedstat", "rb") as file:
        used = int(file.read().split()[0])
    return ProcessActivity(used, is_runnable)


@dataclass(frozen=True, slots=True)
class ProcessorUse:
    """Seconds of processor time of all threads, and whether the main one has a processor or waits for one."""

    seconds: float
    is_runnable: bool


def processor_use(pid: int) -> ProcessorUse | None:
    """Return the processor time of a process, in user and kernel mode; None if unknown."""
    if procfs.IS_BLIND:
        return None
    if not procfs.HAS_PROC:
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            times = process.cpu_times()
            return ProcessorUse(float(times.user + times.system), process.status() == psutil.STATUS_RUNNING)
        return None
    known = _ticks_used(pid)
    return None if known is None else ProcessorUse(known[0] / os.sysconf("SC_CLK_TCK"), known[1])


def _ticks_used(pid: int) -> tuple[int, bool] | None:
    """Return the processor time of all threads in ticks, and whether the main one has a processor or waits for one.

    Never waits for the process's memory.
    """
    fields = procfs.stat_fields(pid)
    with suppress(ValueError, IndexError):
        return int(fields[11]) + int(fields[12]), fields[0] == b"R"
    return None
