#!/usr/bin/env python
"""What many large agents cost: `scripts/bench_large_agents.py [--agents N] [--bytes N]`.

`submit(partial(f, data), x)` so many times, each with data of its own; PSS of every process before and after (proc(5)).
"""

from __future__ import annotations

import argparse
import os
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from orchestrator import Supervisor


def size_of(data: bytes, task: int, state: Any) -> int:
    """Run an agent with a large argument."""
    return len(data) + task


def memory() -> dict[str, float]:
    """Return the PSS of this process and its descendants, in MB."""
    found = {}
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                name = "supervisor" if process.pid == os.getpid() else str(process.pid)
                found[name] = int(line.split()[1]) / 1000
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=200, help="how many (default: 200)")
    parser.add_argument("--bytes", type=int, default=1 << 20, help="how large each is (default: 1 MiB)")
    given = parser.parse_args()
    with Supervisor(workers=2, log=lambda *_: None) as supervisor:
        supervisor.submit(partial(size_of, b""), 0).outcome()
        before = memory()
        handles = [
            supervisor.submit(partial(size_of, random.randbytes(given.bytes)), number) for number in range(given.agents)
        ]
        assert [handle.outcome().value for handle in handles] == [
            given.bytes + number for number in range(given.agents)
        ]
        time.sleep(1)
        after = memory()
    print(f"{given.agents} agents of {given.bytes} bytes, 2 executors; PSS in MB")
    print(f"{'process':12} {'before':>8} {'after':>8}")
    for name in before:
        print(f"{name:12} {before[name]:8.1f} {after.get(name, 0):8.1f}")
    print(f"{'all':12} {sum(before.values()):8.1f} {sum(after.values()):8.1f}")


if __name__ == "__main__":
    main()
