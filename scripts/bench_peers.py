"""The budgets of the design, each measured beside its peers and its floor in one run, as ratios.

    python scripts/bench_peers.py [--only NAME] [--quick] [--json]

NAME is wake, gone, start, tasks, batches, trip, idle, events, crash or million. At the end stands one table of what
was aimed at: what was measured, kept or missed. Peers are from `pip install --group bench`; one that is missing
is skipped with a line. `--quick` is a smoke test with few rounds: its numbers mean little. Ratios travel between
machines; absolute numbers do not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from types import FrameType

from bench.budgets import BUDGETS
from bench.report import Table, summary
from bench.run import FULL, QUICK


def stop(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does: what is being measured is killed on the way out."""
    raise SystemExit(128 + number)


def main() -> int:
    """Measure what was asked for and print it as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(BUDGETS), help="only this budget; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a smoke test: few rounds, small numbers")
    parser.add_argument("--json", action="store_true", help="one JSON object for each table on standard output")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    out = sys.stderr if options.json else sys.stdout
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}", file=out, flush=True)
    all_tables: list[Table] = []
    for name in options.only or BUDGETS:
        began = time.monotonic()
        found = BUDGETS[name](QUICK if options.quick else FULL)
        tables: list[Table] = found if isinstance(found, list) else [found]
        all_tables += tables
        for table in tables:
            print(f"\n{table}", file=out, flush=True)
            if options.json:
                print(json.dumps({"budget": name, **table.as_json()}), flush=True)
        print(f"  (measured in {time.monotonic() - began:.0f} s)", file=out, flush=True)
    print(f"\n{summary(all_tables)}", file=out, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
