"""Play rounds of faults on real runs: `scripts/soak [N] [--seed S] [--jobs J] [--for SECONDS] [--theme T] [--quick]`.

Each round is made from its seed (S, S+1, …): a mix of agents, and faults at random moments. It is resumed until it
is complete and compared with the truth. Prints a table: what was injected, what was lost, recorded twice, left
behind, and how long the end took from the fault. A round that fails is named with its seed; `scripts/soak 1
--seed S --verbose` plays it again. Exit code 1 if any failed.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from chaos.table import Table
from tests.support.chaos.places import run
from tests.support.chaos.plan import EXTREMES, THEMES, Plan, plan_of
from tests.support.chaos.round import Report, play
from tests.support.dispositions import reset_ignored_signals

PRIVATE = "QUIESCE_SOAK_PRIVATE"
SHARED = "/dev/shm"  # noqa: S108 - looked at, not written to


def private_memory() -> None:
    """As root, start again with a private /dev/shm: what is in it at the end was left by a round."""
    if os.geteuid() != 0 or os.environ.get(PRIVATE):
        return
    mount = 'mount -t tmpfs none /dev/shm && exec "$@"'
    os.environ[PRIVATE] = "1"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh", sys.executable, *sys.argv]
    if run("unshare", "--mount", "--propagation", "private", "true"):
        os.execvp(command[0], command)


def segments() -> list[str]:
    """Return what was left in shared memory, if it is private."""
    mine = os.environ.get(PRIVATE) == "1" and os.path.ismount(SHARED)
    return os.listdir(SHARED) if mine else []


def print_failure(report: Report) -> None:
    """Print what failed in a round, and how to play it again."""
    print(f"\nFAILED {report.plan}", flush=True)
    for problem in report.problems:
        print(f"    {problem}")
    theme = "" if plan_of(report.plan.seed) == report.plan else f" --theme {report.plan.theme!r}"
    print(f"    again: scripts/soak 1 --seed {report.plan.seed}{theme} --verbose\n", flush=True)


def soak(plans: list[Plan], jobs: int, end: float, *, verbose: bool) -> Table:
    """Play rounds, `jobs` at a time; those that have not begun by `end` (monotonic seconds) are left out."""
    table = Table()

    def in_time(plan: Plan) -> Report | None:
        return play(plan) if time.monotonic() < end else None

    with ThreadPoolExecutor(jobs) as pool, dropping_queued(pool):
        for number, future in enumerate(as_completed([pool.submit(in_time, plan) for plan in plans]), 1):
            report = future.result()
            if report is None:
                continue
            table.add(report)
            if verbose:
                print(f"{report.plan}\n    {report.seconds:.1f} s, {dict(report.faults)}", flush=True)
            if report.problems:
                print_failure(report)
            if number % 50 == 0:
                print(f"{number} rounds, {table.total['failed']} failed", file=sys.stderr, flush=True)
    return table


@contextmanager
def dropping_queued(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Drop the rounds that have not begun when the block ends."""
    try:
        yield
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def stop(number: int, frame: FrameType | None) -> None:
    """End the program: rounds under way clean up, no other begins."""
    raise SystemExit(128 + number)


def main() -> int:
    """Play the rounds that the options select, and print the table; the exit code is 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", default=100)
    parser.add_argument("--seed", type=int, default=1, help="the first round's seed")
    parser.add_argument("--jobs", type=int, default=1, help="rounds at a time")
    parser.add_argument(
        "--for", type=float, dest="most", metavar="S", help="begin no more rounds after so many seconds"
    )
    parser.add_argument("--theme", choices=[*THEMES, *EXTREMES], help="what the host is like, instead of by chance")
    parser.add_argument("--repeat", type=int, default=1, help="play each seed so often: some need a bad moment")
    parser.add_argument("--quick", action="store_true", help="10 rounds, for a smoke test")
    parser.add_argument("--verbose", action="store_true", help="print every round")
    options = parser.parse_args()
    private_memory()
    reset_ignored_signals()
    signal.signal(signal.SIGTERM, stop)
    rounds = 10 if options.quick else options.rounds
    began = time.monotonic()
    plans = [plan_of(seed, options.theme) for seed in range(options.seed, options.seed + rounds)] * options.repeat
    end = math.inf if options.most is None else began + options.most
    table = soak(plans, options.jobs, end, verbose=options.verbose)
    left = segments()
    seconds = time.monotonic() - began
    print(f"\n{table}\n\n{table.total['rounds']} rounds in {seconds:.0f} s, seeds from {options.seed}")
    if table.total["skipped"]:
        print(f"{table.total['skipped']} of them could not be played: this host cannot have their disk or clock")
    if left:
        print(f"left in /dev/shm: {left}")
    return 1 if table.total["failed"] or left else 0


if __name__ == "__main__":
    raise SystemExit(main())
