"""The pools that people use, stopped as their documentation suggests; and ours.

What they have in common with the benchmarks comes from bench.contenders. Each gets work one by one and tells results
as they come: a program that waits for all of them first has nothing when it is stopped.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import sys

from bench.contenders import CONTENDERS, Contender, Futures, Quiesce, QuiesceExecutor

GRACE = 1.0
"""Seconds of grace, and again of term grace, that our supervisor is given."""


class Spawned(Futures):
    """concurrent.futures with spawn."""

    method = "spawn"

    def __init__(self, workers: int) -> None:
        Contender.__init__(self, workers)
        context = multiprocessing.get_context(self.method)
        self.pool = concurrent.futures.ProcessPoolExecutor(workers, mp_context=context)


class Forkserved(Spawned):
    """concurrent.futures with forkserver."""

    method = "forkserver"


class Ours(Quiesce):
    """This project, with a journal, in which the results are."""

    def __init__(self, workers: int) -> None:
        Contender.__init__(self, workers)
        from orchestrator import Supervisor  # noqa: PLC0415 - a peer is imported by its own measurement only

        journal = os.path.join(os.environ["BENCH_FOLDER"], "journal.db")
        self.pool = Supervisor(workers=workers, journal=journal, run_id="compare", grace=GRACE, term_grace=GRACE)
        self.pool.__enter__()

    def stop(self) -> None:
        self.pool.__exit__(*sys.exc_info())


class OurExecutor(QuiesceExecutor):
    """Our executor, with a journal, in the program of concurrent.futures: it takes no signals, the program does."""

    def __init__(self, workers: int) -> None:
        Contender.__init__(self, workers)
        from orchestrator.futures import SupervisedExecutor  # noqa: PLC0415 - as above

        journal = os.path.join(os.environ["BENCH_FOLDER"], "journal.db")
        self.pool = SupervisedExecutor(workers, journal=journal, key="compare", grace=GRACE, term_grace=GRACE)

    def stop(self) -> None:
        self.pool.__exit__(*sys.exc_info())


PEERS: dict[str, type[Contender]] = {
    "quiesce": Ours,
    "quiesce executor": OurExecutor,
    "concurrent.futures spawn": Spawned,
    "concurrent.futures forkserver": Forkserved,
    "multiprocess.Pool": CONTENDERS["multiprocess.Pool"],
    "pebble": CONTENDERS["pebble"],
    "mpire": CONTENDERS["mpire"],
    "loky": CONTENDERS["loky"],
    "joblib": CONTENDERS["joblib"],
}
"""By the name under which each is reported."""
