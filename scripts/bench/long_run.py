"""Long runs through the command line: how fast, and in how much memory, for more and more tasks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bench import SCRIPTS
from bench.report import Goal, Table

QUIESCE = [str(Path(sys.executable).with_name("quiesce"))]
_LOOK_EVERY = 0.1  # seconds
_SETTLED_AFTER = 15_000  # lines written: more than a pipe holds, so the supervisor has begun to work


@dataclass
class Memory:
    """Resident memory of a process in MB: when it had settled, and at most."""

    settled: float = 0.0
    peak: float = 0.0
    samples: list[float] = field(default_factory=list)

    def look(self, pid: int, *, settled: bool) -> None:
        """Take one sample, unless the process has gone."""
        try:
            with open(f"/proc/{pid}/status") as file:
                sizes = dict(line.split(":", 1) for line in file if line.startswith(("VmRSS", "VmHWM")))
        except OSError:
            return
        if "VmRSS" in sizes:
            now = int(sizes["VmRSS"].split()[0]) / 1024
            self.peak = max(self.peak, int(sizes["VmHWM"].split()[0]) / 1024)
            self.samples.append(now)
            if settled and not self.settled:
                self.settled = now


class Feeder(threading.Thread):
    """Write one number a line until there are enough or the reader is gone."""

    def __init__(self, pipe: IO[bytes], tasks: int) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._tasks = tasks
        self.written = 0

    def run(self) -> None:
        try:
            with self._pipe:
                for start in range(0, self._tasks, 1000):
                    numbers = range(start, min(start + 1000, self._tasks))
                    self._pipe.write(b"".join(b"%d\n" % number for number in numbers))
                    self.written += len(numbers)
        except BrokenPipeError:
            return


def run(tasks: int, workers: int, journal: str, agent: str = "tiny") -> tuple[int, float, Memory]:
    """One run of an agent of tasks.py; its exit code, its seconds and the supervisor's memory."""
    command = [*QUIESCE, "run", f"{SCRIPTS}/bench/tasks.py:{agent}", "--input", "-", "--workers", str(workers)]
    command += ["--journal", journal, "--progress", "off", "--run-id", "million", "-q"]
    memory = Memory()
    began = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.PIPE) as popen:
        assert popen.stdin is not None
        feeder = Feeder(popen.stdin, tasks)
        feeder.start()
        while True:
            memory.look(popen.pid, settled=feeder.written >= _SETTLED_AFTER)
            try:
                code = popen.wait(_LOOK_EVERY)
                break
            except subprocess.TimeoutExpired:
                continue
        popen.stdin = None  # closed by the feeder, not here
        feeder.join()
    return code, time.monotonic() - began, memory


def completed(journal: str) -> int:
    """How many results the journal hands out."""
    command = [*QUIESCE, "results", "million", "--journal", journal, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as popen:
        assert popen.stdout is not None
        return sum(b'"completed"' in line for line in popen.stdout)


@dataclass(frozen=True)
class Found:
    """What one run took: seconds, the supervisor's memory, the size of the journal in MB, the results in it."""

    code: int
    seconds: float
    memory: Memory
    results: int
    journal_mb: float


def measure(tasks: int, workers: int, agent: str = "tiny") -> Found:
    """Make one run in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="quiesce-bench-") as folder:
        journal = os.path.join(folder, "million.db")
        code, seconds, memory = run(tasks, workers, journal, agent)
        size = os.path.getsize(journal) / 1e6 if os.path.exists(journal) else 0.0
        return Found(code, seconds, memory, completed(journal), size)


def long_runs(longest: int) -> list[Table]:
    """Run a hundredth, a tenth and all of so many tiny tasks, and of a tenth of them with results of 10 KB."""
    tables = []
    for agent, title, most in [("tiny", "tiny tasks", longest), ("large", "results of 10 KB", longest // 10)]:
        speed = Table(f"{title}, journal on, from exec to exit (tasks/s)", "/s", "time linear")
        peak = Table(f"{title}, journal on: the supervisor's memory at most (MB)", "MB", "memory flat")
        sizes = [most // 100, most // 10, most]
        for tasks in sizes:
            found = measure(tasks, 2, agent)
            is_complete = found.code == 0 and found.results == tasks
            note = f"{found.seconds:.1f} s, journal {found.journal_mb:,.0f} MB"
            note += "" if is_complete else f"; ended with {found.code}, {found.results:,} results"
            speed.add(f"{tasks:,}", [tasks / found.seconds] if is_complete else [], note)
            peak.add(f"{tasks:,}", [found.memory.peak] if is_complete else [])
        tenth, all_of_them = f"{sizes[1]:,}", f"{sizes[2]:,}"
        speed.yardstick = peak.yardstick = tenth
        what = f"{all_of_them} {title}"
        speed.goals.append(Goal(f"{what}: time", f"linear: >= 0.8 x {tenth}", all_of_them, 0.8, at_most=False))
        peak.goals.append(Goal(f"{what}: memory", f"flat: <= 1.25 x {tenth}", all_of_them, 1.25))
        tables += [speed, peak]
    return tables
