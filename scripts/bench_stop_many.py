#!/usr/bin/env python
"""How long a stop takes with many executors: `scripts/bench_stop_many.py [--executors N]… [--agent NAME]…`.

Each case: so many executors, each with a task in hand, one SIGTERM to the supervisor, graces of 1 + 1 s. Those of
`cooperates` end at the FLAG rung, those of `swallows` at the KILL rung, after both graces. What is left beyond the
graces, divided by the number of executors, is what an executor costs (docs/stopping.md).
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

AGENTS = """
import os
import time
from pathlib import Path


def _begin(folder):
    (Path(folder) / f"begun-{os.getpid()}").touch()


def cooperates(folder, state):
    _begin(folder)
    state.sleep(3600)


def swallows(folder, state):
    _begin(folder)
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            pass
"""
GRACE = 1.0
GRACES = {"cooperates": 0.0, "swallows": 2 * GRACE}
"""Seconds of the ladder that each agent uses up."""


def wait_until(is_so: Callable[[], bool], seconds: float) -> None:
    """Look until it is so. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.1)


def measure(agent: str, executors: int) -> tuple[float, float, int]:
    """Return the seconds until all have begun, the seconds from the signal to the end, and the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begun = folder / "begun"
        begun.mkdir()
        (folder / "agents.py").write_text(AGENTS)
        (folder / "in.jsonl").write_text(f'"{begun}"\n' * executors)
        words = ["run", f"{folder}/agents.py:{agent}", "-i", f"{folder}/in.jsonl", "-j", f"{folder}/j.db"]
        words += ["-w", str(executors), "--grace", str(GRACE), "--term-grace", str(GRACE), "--progress", "off"]
        with (folder / "log").open("wb") as log:
            launched = time.monotonic()
            process = subprocess.Popen([Path(sys.executable).with_name("quiesce"), *words], stdout=log, stderr=log)
            wait_until(lambda: len(os.listdir(begun)) == executors, 300)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(300)
            return began - launched, time.monotonic() - began, process.returncode


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executors", type=int, action="append", help="how many (default: 100, 300 and 1000)")
    parser.add_argument("--agent", choices=GRACES, action="append", help="which agent (default: both)")
    given = parser.parse_args()
    print(f"{'agent':12} {'executors':>9} {'start s':>8} {'stop s':>8} {'ms beyond the graces, each':>27}", end="")
    print(f"   {os.cpu_count()} cores")
    for agent in given.agent or GRACES:
        for executors in given.executors or (100, 300, 1000):
            start, stop, code = measure(agent, executors)
            each = 1000 * (stop - GRACES[agent]) / executors
            odd = "" if code == -signal.SIGTERM else f"   exit {code}"
            print(f"{agent:12} {executors:>9} {start:8.2f} {stop:8.2f} {each:27.2f}{odd}", flush=True)


if __name__ == "__main__":
    main()
