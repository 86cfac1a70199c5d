"""What processes use while they have nothing to do: processor time, and how often each is woken."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class IdleUse:
    """`processor_share`: of one core, by all. `most_wakeups`: a second, of the process that woke most often."""

    processor_share: float
    most_wakeups: float
    processes: int


def processes_of() -> list[int]:
    """Return the process ids of this process and all its descendants."""
    root = psutil.Process()
    return [root.pid, *(child.pid for child in root.children(recursive=True))]


def used_while_idle(pids: Iterable[int], seconds: float) -> IdleUse:
    """Look twice, `seconds` apart, at every thread of the processes."""
    before = {pid: _look(pid) for pid in pids}
    time.sleep(seconds)
    after = {pid: _look(pid) for pid in before}
    used = [after[pid][0] - before[pid][0] for pid in before]
    woken = [after[pid][1] - before[pid][1] for pid in before]
    return IdleUse(sum(used) / 1e9 / seconds, max(woken) / seconds, len(before))


def _look(pid: int) -> tuple[int, int]:
    """Return the nanoseconds that a process has run, and how often its threads have gone to sleep."""
    nanoseconds = switches = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        nanoseconds += int((thread / "schedstat").read_text().split()[0])
        lines = (thread / "status").read_text().splitlines()
        switches += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return nanoseconds, switches
