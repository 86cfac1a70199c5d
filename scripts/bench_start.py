"""What small commands cost: `--version`, `--help`, `status`, the other queries, and a run of five lines.

    python scripts/bench_start.py [--rounds N]

Each is started beside `python -c pass`, and the run beside the same job on the standard library's forkserver pool, in
turns: a round starts every contestant once. Processor time is that of all processes that a contestant starts. What is
printed is the best of all rounds, because other work on the machine only adds to it, and the ratios between the best.
The exit code is 1 if a budget is not kept.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report import Table

AGENT = "def work(number):\n    return number * number\n"

QUERIES = (["runs"], ["results"], ["events"], ["failures"], ["logs"], ["show", "kept", "1"])

POOL = """
import json, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from agents import work

if __name__ == "__main__":
    with open("inputs.jsonl") as lines, ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        for result in pool.map(work, map(json.loads, lines)):
            print(result)
"""

PR_SET_CHILD_SUBREAPER = 36  # prctl(2): processes that lose their parent become ours, so that their time is counted


@dataclass(frozen=True)
class Contestant:
    """A command, and its budget: how many times the yardstick's time it may take."""

    name: str
    command: Sequence[str]
    yardstick: str = ""
    budget: float | None = None


@dataclass
class Best:
    """The least of all rounds, in seconds."""

    cpu: float = float("inf")
    elapsed: float = float("inf")

    def add(self, cpu: float, elapsed: float) -> None:
        """Take one more round into account."""
        self.cpu, self.elapsed = min(self.cpu, cpu), min(self.elapsed, elapsed)


def main() -> None:
    """Measure, print two tables, and exit with 1 if a budget is not kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        best = measure(contestants(), Path(folder), rounds)
    print(f"CPython {sys.version.split()[0]}, {os.cpu_count()} cores, best of {rounds} rounds\n")
    kept = [report(best, commands(), "cpu"), report(best, runs(), "elapsed"), report(best, runs(), "cpu")]
    sys.exit(0 if all(kept) else 1)


def commands() -> list[Contestant]:
    """Return the commands that answer at once, and their yardstick."""
    python, quiesce = sys.executable, str(Path(sys.executable).with_name("quiesce"))
    bare = "python -c pass"
    return [
        Contestant(bare, [python, "-c", "pass"]),
        Contestant("quiesce --version", [quiesce, "--version"], bare, 4),
        Contestant("quiesce --help", [quiesce, "--help"], bare, 4),
        Contestant("quiesce status", [quiesce, "status", "--journal", "kept.db"], bare, 6),
        *(
            Contestant(f"quiesce {' '.join(words)}", [quiesce, *words, "--journal", "kept.db"], bare, 10)
            for words in QUERIES
        ),
    ]


def runs() -> list[Contestant]:
    """Return the job of five lines, in both ways."""
    python, quiesce = sys.executable, str(Path(sys.executable).with_name("quiesce"))
    run = [quiesce, "run", "agents.py:work", "--input", "inputs.jsonl", "--workers", "2", "--progress", "off"]
    return [
        Contestant("forkserver pool, 5 lines", [python, "pool.py"]),
        Contestant("quiesce run, 5 lines", run, "forkserver pool, 5 lines", 2),
    ]


def contestants() -> list[Contestant]:
    """Return all that is measured."""
    return [*commands(), *runs()]


def prepare(folder: Path) -> None:
    """Write the job, and a journal with a run that has ended."""
    (folder / "agents.py").write_text(AGENT)
    (folder / "pool.py").write_text(POOL)
    (folder / "inputs.jsonl").write_text("1\n2\n3\n4\n5\n")
    subprocess.run(
        [*runs()[1].command, "--journal", "kept.db", "--run-id", "kept"],
        cwd=folder,
        stderr=subprocess.DEVNULL,
        check=True,
    )


def measure(all_of_them: Sequence[Contestant], folder: Path, rounds: int) -> Mapping[str, Best]:
    """Start every contestant once a round. Return the best of each."""
    best = {contestant.name: Best() for contestant in all_of_them}
    for _ in range(rounds):
        for contestant in all_of_them:
            best[contestant.name].add(*run_once(contestant.command, folder))
            for journal in folder.glob("quiesce.db*"):
                journal.unlink()
            shutil.rmtree(folder / "__pycache__", ignore_errors=True)  # the agent's: both jobs find the same
    return best


def run_once(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run a command to the end of its last process. Return its processor time, and the time until itself ended."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    elapsed = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr.decode()}")
    while True:  # what it left behind, such as the fork server, ends a moment later
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, elapsed


def report(best: Mapping[str, Best], rows: Sequence[Contestant], what: str) -> bool:
    """Print one table. Return whether all of its budgets are kept."""
    yardstick = rows[0].name
    budgets = ", ".join(f"{row.name} <= {row.budget} x" for row in rows if row.budget is not None)
    title = {"cpu": "Processor time of all processes", "elapsed": "Time until the command has ended"}[what]
    table = Table(f"{title} (ms)", "ms", budgets, yardstick=yardstick)
    for row in rows:
        table.add(row.name, [1000 * getattr(best[row.name], what)])
    print(f"{table}\n")
    base = getattr(best[yardstick], what)
    return all(row.budget is None or getattr(best[row.name], what) <= row.budget * base for row in rows)


if __name__ == "__main__":
    main()
