"""A million tiny tasks from standard input through the command line: how fast, and in how much memory.

    python scripts/bench_million.py [--tasks N] [--workers N] [--json]

Feeds `quiesce run … --input -` through a pipe as fast as it takes the lines, watches the supervisor's resident
memory, and counts the results that the journal holds at the end. Ends with 1 when a result is missing or the
supervisor grew by 100 MB or more.
"""

from __future__ import annotations

import argparse
import json

from bench.long_run import measure

BUDGET_MB = 100


def main() -> int:
    """Run it and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    run = measure(options.tasks, options.workers)
    code, seconds, memory, count, size = run.code, run.seconds, run.memory, run.results, run.journal_mb
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
