"""A million tiny tasks from standard input through the command line: how fast, and in how much memory.

    python scripts/bench_million.py [--tasks N] [--workers N] [--json]

Feeds `quiesce run … --input -` through a pipe as fast as it takes the lines, watches the supervisor's resident
memory, and counts the results that the journal holds at the end. Ends with 1 when a result is missing or the
supervisor grew by 100 MB or more.
"""

from __future__ import annotations

import argparse
import json
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

QUIESCE = [str(Path(sys.executable).with_name("quiesce"))]
BUDGET_MB = 100
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


def run(tasks: int, workers: int, journal: str) -> tuple[int, float, Memory]:
    """One run; its exit code, its seconds and the supervisor's memory."""
    command = [*QUIESCE, "run", f"{SCRIPTS}/bench/tasks.py:tiny", "--input", "-", "--workers", str(workers)]
    command += ["--journal", journal, "--progress", "off", "--run-id", "million"]
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


def main() -> int:
    """Run it and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quiesce-bench-") as folder:
        journal = os.path.join(folder, "million.db")
        code, seconds, memory = run(options.tasks, options.workers, journal)
        count = completed(journal)
        size = os.path.getsize(journal) / 1e6 if os.path.exists(journal) else 0.0
    growth = memory.peak - memory.settled
    found = {
        "tasks": options.tasks,
        "completed": count,
        "exit_code": code,
        "seconds": round(seconds, 2),
        "tasks_per_second": round(options.tasks / seconds),
        "settled_mb": round(memory.settled, 1),
        "peak_mb": round(memory.peak, 1),
        "growth_mb": round(growth, 1),
        "journal_mb": round(size, 1),
    }
    if options.json:
        print(json.dumps(found))
    else:
        print(f"{options.tasks:,} tasks, {options.workers} executors, journal on: exit code {code}")
        print(f"  {count:,} results in the journal ({size:,.0f} MB)")
        print(f"  {seconds:,.1f} s, {options.tasks / seconds:,.0f} tasks/s from exec to exit")
        print(f"  supervisor's memory: {memory.settled:.1f} MB settled, {memory.peak:.1f} MB at most:", end=" ")
        print(f"{growth:.1f} MB growth (budget: < {BUDGET_MB} MB)")
    return 0 if code == 0 and count == options.tasks and growth < BUDGET_MB else 1


if __name__ == "__main__":
    raise SystemExit(main())
