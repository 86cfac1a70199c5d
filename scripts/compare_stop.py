"""Compare how this project and the pools that people use stop, in one run.

    scripts/compare_stop [--only PEER] [--kind KIND] [--limit S] [--jobs J] [--markdown]

Each case: four workers, a hundred results already there, two tasks of one kind and short ones beside them; then TERM
to the main process (with the handler that the peer's documentation suggests), INT to its process group, or KILL of it.
The table shows how each ended and after how long, how many processes were left, and how many finished results were lost
(with KILL: of those that were finished a tenth of a second before). What is left at the limit is killed. quiesce gets
a grace of one second for each rung. Peers come from `pip install --group bench`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from chaos.matrix import WAYS, Cell, available, stop, summary, table
from chaos.peers import PEERS
from chaos.stops import KINDS
from tests.support.dispositions import reset_ignored_signals


def main() -> int:
    """Play all cases that the options select; the exit code is 1 if quiesce did not stop cleanly in one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(PEERS), help="only this one; may be repeated")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this kind of task; may be repeated")
    parser.add_argument("--way", action="append", choices=WAYS, help="only this way to stop; may be repeated")
    parser.add_argument("--limit", type=float, default=15.0, help="seconds until a case hangs [default: 15]")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    parser.add_argument("--markdown", action="store_true", help="tables for a document")
    options = parser.parse_args()
    reset_ignored_signals()
    peers = []
    for peer in options.only or PEERS:
        if available(peer):
            peers.append(peer)
        else:
            print(f"{peer} is not installed: skipped", file=sys.stderr)
    cases = [(peer, kind, way) for peer in peers for kind in options.kind or KINDS for way in options.way or WAYS]
    cells: list[Cell] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for cell in pool.map(lambda case: stop(case[0], case[1], case[2], options.limit), cases):
            cells.append(cell)
            print(f"{cell.peer}, {cell.kind}, {cell.way}: {cell}", file=sys.stderr, flush=True)
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, limit {options.limit:g} s\n")
    print(table(cells, peers, markdown=options.markdown))
    print(f"\n{summary(cells, peers, markdown=options.markdown)}")
    ours = [cell for cell in cells if cell.peer.startswith("quiesce")]
    return 0 if all(cell.is_clean for cell in ours) else 1


if __name__ == "__main__":
    raise SystemExit(main())
