"""A backend of joblib whose calls can be stopped: `register()`, then `parallel_config(backend="quiesce")`.

    from joblib import Parallel, delayed, parallel_config
    from quiesce.joblib import register

    register()
    with parallel_config(backend="quiesce", n_jobs=4):
        results = Parallel()(delayed(simulate)(seed) for seed in range(100))

joblib comes with `pip install "quiesce[joblib]"`. docs/from-joblib.md is the guide.
"""

from __future__ import annotations

import importlib
import sys

NAME = "quiesce"
"""What `parallel_config` and `Parallel` take as `backend`."""


def register(*, make_default: bool = False) -> None:
    """Make the backend `quiesce` known to joblib. With `make_default`, use it wherever no other one is named.

    A module that executors import (a script, too) may call it at import: so tasks can name the backend as well.
    Raises ImportError, which says what to install, without joblib 1.5 or later.
    """
    try:
        joblib = importlib.import_module("joblib")
    except ModuleNotFoundError as error:
        raise ImportError('joblib is not installed: pip install "quiesce[joblib]"', name="joblib") from error
    if not hasattr(importlib.import_module("joblib.parallel").ParallelBackendBase, "submit"):
        raise ImportError(f"joblib {joblib.__version__} is too old for quiesce: it takes 1.5 or later", name="joblib")
    backend = importlib.import_module("orchestrator.joblib.backend").QuiesceBackend
    joblib.register_parallel_backend(NAME, backend, make_default=make_default)


def shutdown() -> None:
    """End the executors that wait for the next call, and wait for that. They end by themselves with the program."""
    if "orchestrator.joblib.executors" in sys.modules:
        sys.modules["orchestrator.joblib.executors"].IDLE.close()
