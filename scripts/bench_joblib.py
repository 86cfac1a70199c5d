"""joblib's own backends and ours, interleaved in one process: small calls, large arguments, large results.

    python scripts/bench_joblib.py [--rounds N] [--jobs N] [--megabytes N] [--only NAME]

Each row is the median of the rounds, in milliseconds, and its ratio to loky, joblib's default. Executors are warm, but
for `first`, which ends them before each round. `multiprocessing` starts its own each time.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import joblib
import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from orchestrator.joblib import register, shutdown

register()

BACKENDS = ("loky", "multiprocessing", "quiesce")


def double(number: int) -> int:
    """Do next to nothing."""
    return number * 2


def pause(_: int) -> None:
    """Take as long as a small real call."""
    time.sleep(0.01)


def edges(array: Any) -> float:
    """Read two numbers of a large array."""
    return float(array[0] + array[-1])


def total(array: Any) -> float:
    """Read all of a large array."""
    return float(array.sum())


def make(length: int, value: float) -> Any:
    """Return a large array."""
    return np.full(length, value)


def cases(megabytes: int) -> dict[str, tuple[Callable[[str], Any], bool]]:
    """Return what is measured: a function of the backend's name, and whether executors are ended before."""
    length = megabytes * 1_000_000 // 8
    array = np.ones(length)

    def run(backend: str, inputs: Callable[[], Any], **options: Any) -> Any:
        return Parallel(n_jobs=JOBS, backend=backend, **options)(inputs())

    def one_array(function: Callable[[Any], Any], count: int) -> Callable[[str], Any]:
        return partial(run, inputs=lambda: (delayed(function)(array) for _ in range(count)), batch_size=1)

    def many_arrays(count: int) -> Callable[[str], Any]:
        return partial(run, inputs=lambda: (delayed(edges)(make(length, n)) for n in range(count)), batch_size=1)

    def results(count: int) -> Callable[[str], Any]:
        return partial(run, inputs=lambda: (delayed(make)(length, n) for n in range(count)), batch_size=1)

    return {
        "first call": (partial(run, inputs=lambda: (delayed(double)(n) for n in range(2))), True),
        "one call": (partial(run, inputs=lambda: [delayed(double)(1)]), False),
        "10,000 tiny calls": (partial(run, inputs=lambda: (delayed(double)(n) for n in range(10_000))), False),
        "1,000 tiny calls, one by one": (
            partial(run, inputs=lambda: (delayed(double)(n) for n in range(1_000)), batch_size=1),
            False,
        ),
        "100 calls of 10 ms": (partial(run, inputs=lambda: (delayed(pause)(n) for n in range(100))), False),
        f"20 calls with one array of {megabytes} MB": (one_array(edges, 20), False),
        f"20 calls that read all of it ({megabytes} MB)": (one_array(total, 20), False),
        f"8 calls with an array each of {megabytes} MB": (many_arrays(8), False),
        f"8 results of {megabytes} MB": (results(8), False),
    }


def end_executors() -> None:
    """End what waits for the next call."""
    shutdown()
    get_reusable_executor().shutdown(wait=True)


def measure(call: Callable[[str], Any], rounds: int, *, is_cold: bool) -> dict[str, float]:
    """Return the median milliseconds of each backend; the backends take turns."""
    seconds: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
    for number in range(rounds + 1):
        for backend in BACKENDS:
            if is_cold:
                end_executors()
            began = time.perf_counter()
            call(backend)
            if number:  # the first round warms up
                seconds[backend].append(time.perf_counter() - began)
    return {backend: 1000 * statistics.median(times) for backend, times in seconds.items()}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--only", help="only rows with this text")
    options = parser.parse_args()
    global JOBS  # noqa: PLW0603 - one program, one number
    JOBS = options.jobs
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, joblib {joblib.__version__}, {JOBS} jobs")
    print(f"{'':42}" + "".join(f"{backend:>17}" for backend in BACKENDS) + "  quiesce : loky")
    for name, (call, is_cold) in cases(options.megabytes).items():
        if options.only and options.only not in name:
            continue
        found = measure(call, options.rounds, is_cold=is_cold)
        row = "".join(f"{found[backend]:14.1f} ms" for backend in BACKENDS)
        print(f"{name:42}{row}{found['quiesce'] / found['loky']:13.2f}", flush=True)
    end_executors()
    return 0


JOBS = 2

if __name__ == "__main__":
    sys.exit(main())
