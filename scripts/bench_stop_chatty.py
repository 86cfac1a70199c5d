#!/usr/bin/env python
"""How long a stop takes while agents flood the log: `scripts/bench_stop_chatty.py [--limit SECONDS]`.

Each case: so many executors whose agents do nothing but write, the log into a file, graces of 1 + 1 s, one SIGTERM.
None of them looks for an interrupt, so one second is the agents' own, and the documented bound is 4 s.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

AGENTS = """
import itertools, logging, os, sys
from pathlib import Path

def _begin(folder):
    (Path(folder) / f"begun-{os.getpid()}").touch()

def prints(folder, state):
    _begin(folder)
    for number in itertools.count():
        print(number)

def logs(folder, state):
    _begin(folder)
    for number in itertools.count():
        logging.warning("number %d", number)

def blank(folder, state):
    _begin(folder)
    while True:
        os.write(1, b"\\n" * 65536)

def nothing(folder, state):
    _begin(folder)
    while True:
        os.write(2, bytes(65536))

def emits(folder, state):
    _begin(folder)
    for number in itertools.count():
        state.emit("number", n=number)
"""
CASES = [
    ("prints", 2), ("prints", 8), ("prints", 32), ("logs", 4), ("logs", 32), ("blank", 4), ("blank", 32),
    ("nothing", 8), ("emits", 8),
]  # fmt: skip
BOUND = 4.0


def wait_until(is_so: Callable[[], bool], seconds: float) -> None:
    """Look until it is so. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)


def measure(agent: str, workers: int, limit: float, flood: float) -> tuple[float | None, int, int]:
    """Seconds from the signal to the end (None: it was killed at the limit), the exit code, lines in the log."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "agents.py").write_text(AGENTS)
        (folder / "in.jsonl").write_text(f"{json.dumps(name)}\n" * workers)
        words = ["run", f"{folder}/agents.py:{agent}", "-i", f"{folder}/in.jsonl", "-j", f"{folder}/j.db"]
        words += ["-w", str(workers), "--grace", "1", "--term-grace", "1", "--progress", "off"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([Path(sys.executable).with_name("quiesce"), *words], stdout=log, stderr=log)
            wait_until(lambda: len(list(folder.glob("begun-*"))) == workers, 120)
            time.sleep(flood)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            seconds: float | None = None
            try:
                process.wait(limit)
                seconds = time.monotonic() - began
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with (folder / "log").open("rb") as log_file:
            lines = sum(1 for _ in log_file)
    return seconds, process.returncode, lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=120.0, help="kill the supervisor after so many seconds")
    parser.add_argument(
        "--flood", type=float, default=2.0, help="seconds between the last agent's begin and the signal"
    )
    parser.add_argument("--case", action="append", help="only these, as AGENT:EXECUTORS")
    given = parser.parse_args()
    cases = [tuple(each.split(":")) for each in given.case] if given.case else CASES
    print(f"{'agents':10} {'executors':>9} {'stop s':>8} {'exit':>6} {'lines logged':>13}   {os.cpu_count()} cores")
    for agent, workers in cases:
        seconds, code, lines = measure(agent, int(workers), given.limit, given.flood)
        shown = f"> {given.limit:.0f}" if seconds is None else f"{seconds:.2f}"
        late = "" if seconds is not None and seconds <= BOUND else "   over the bound"
        print(f"{agent:10} {workers:>9} {shown:>8} {code:>6} {lines:>13}{late}", flush=True)


if __name__ == "__main__":
    main()
