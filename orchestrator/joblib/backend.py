"""The backend of joblib: batches of calls become tasks of a SupervisedExecutor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from joblib import cpu_count
from joblib.disk import memstr_to_bytes
from joblib.parallel import (
    AutoBatchingMixin,
    BatchedCalls,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

from orchestrator.callbacks import CallbackThread
from orchestrator.joblib.arrays import ArrayShare
from orchestrator.joblib.batch_job import BatchJob
from orchestrator.joblib.executors import IDLE, IDLE_SECONDS
from orchestrator.joblib.parallel_session import ParallelSession
from orchestrator.joblib.result_memory import make_result_memory
from runtime.ipc.shared_memory import SharedMemoryLost

_OF_OTHER_BACKENDS: Final = ("verbose", "context", "temp_folder", "prefer", "require")
"""Arguments of `configure` that joblib has for its own backends."""

_PER_CALL: Final = ("journal", "timeout", "retries", "max_tasks_per_child")
"""Options that are about one call, so that joblib must not make batches of several by itself."""


class QuiesceBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Execute the calls of `Parallel` in supervised processes.

    `parallel_config(backend="quiesce", **options)` takes the options of `SupervisedExecutor` (`journal`, `key`,
    `grace`, `timeout`, `initializer`, ...), but for `max_workers`, which is `n_jobs`; and `idle_worker_timeout`, the
    seconds after which executors without work end (300). `key` as a function gets the arguments of the call.

    One backend may serve several `Parallel` at a time: `parallel_config` has one for all that are in its block.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        idle_worker_timeout: float = IDLE_SECONDS,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._options = options
        self._is_stored = _is_stored(options)
        self._idle_seconds = idle_worker_timeout
        self._sessions: list[ParallelSession] = []
        self._callbacks = CallbackThread()
        self.parallel: Any = None

    # -- the life of a Parallel -------------------------------------------------------------------------

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many calls `n_jobs` lets run at a time. Raises ValueError for 0.

        With a journal it is 2 at least: for 1, joblib calls the functions itself, in this process, and keeps nothing.
        """
        return max(_count_jobs(n_jobs), 2 if self._is_stored else 1)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        *,
        max_nbytes: int | str | None = "1M",
        mmap_mode: str | None = "r",
        **options: Any,
    ) -> int:
        """Get the executors of one `Parallel`. Return their number. joblib calls it, with arguments of `Parallel`."""
        options = {**self._options, **{name: options[name] for name in options if name not in _OF_OTHER_BACKENDS}}
        self._is_stored = _is_stored(options)
        count = _count_jobs(n_jobs)
        if count == 1 and not self._is_stored:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        least = memstr_to_bytes(max_nbytes) if isinstance(max_nbytes, str) else max_nbytes
        least = None if mmap_mode is None else least
        share = ArrayShare(least, mmap_mode or "r", by_content=self._is_stored)
        pool = IDLE.take({**options, "max_workers": count, "slot_env": self._thread_limits(count)})
        memory = None if options.get("journal") is not None else make_result_memory(count, least)
        self.parallel = parallel
        self._sessions.append(ParallelSession(parallel, pool, share, memory))
        return self.effective_n_jobs(n_jobs)

    def _thread_limits(self, count: int) -> dict[str, tuple[str, ...]]:
        """Return the environment that limits the threads of numerical libraries, in every executor alike."""
        return {name: (value,) * count for name, value in self._prepare_worker_env(n_jobs=count).items()}

    def compute_batch_size(self) -> int:
        """Return how many calls make the next batch."""
        options = self._sessions[-1].pool.options if self._sessions else self._options
        return 1 if any(options.get(name) for name in _PER_CALL) else int(super().compute_batch_size())

    def start_call(self) -> None:
        """Note that a `Parallel` begins: what it is given may have changed since it was given last."""
        for session in self._sessions:
            session.share.begin_call()

    def terminate(self) -> None:
        """Let go of the executors of a `Parallel` that is over. They wait for the next one."""
        for session in self._take_sessions(lambda parallel: not (parallel._running or parallel._managed_backend)):  # noqa: SLF001 - joblib does not say which
            session.end(self._idle_seconds)
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End all calls of a `Parallel`, running ones too, and wait for that."""
        aborted = self._take_sessions(lambda parallel: parallel._aborting)  # noqa: SLF001 - (likewise)
        for session in aborted:
            session.abort()
        if ensure_ready:
            for session in aborted:
                options = session.parallel._backend_kwargs  # noqa: SLF001 - as joblib's own backends do
                self.configure(n_jobs=session.parallel.n_jobs, parallel=session.parallel, **options)

    def _take_sessions(self, is_meant: Callable[[Any], bool]) -> list[ParallelSession]:
        taken = [session for session in self._sessions if is_meant(session.parallel)]
        for session in taken:
            self._sessions.remove(session)
        return taken

    # -- batches ------------------------------------------------------------------------------------------

    def submit(self, func: BatchedCalls, callback: Callable[[BatchJob], object]) -> BatchJob:
        """Hand in one batch. Its callback runs in a thread of its own, never in this one: it hands in the next."""
        parallel = getattr(callback, "parallel", self.parallel)
        session = next(one for one in reversed(self._sessions) if one.parallel is parallel)
        job = BatchJob(func)
        session.send_or_fail(job)
        submitter, is_submitting = threading.get_ident(), True

        def finish(_: object) -> None:
            if is_submitting and threading.get_ident() == submitter:
                self._callbacks.put(partial(callback, job))
            else:
                callback(job)

        def check(future: Future[Any]) -> None:
            if not job.segments or not _is_memory_lost(future):
                finish(future)
                return
            session.stop_sharing()
            session.send_or_fail(job)
            job.future.add_done_callback(finish)

        job.future.add_done_callback(check)
        is_submitting = False
        return job

    def retrieve_result_callback(self, out: BatchJob) -> Any:
        """Return the results of a batch, or raise what a call raised."""
        return out.results()


def _count_jobs(n_jobs: int | None) -> int:
    if n_jobs == 0:
        raise ValueError("n_jobs == 0 in Parallel has no meaning")
    if n_jobs is None:
        return 1
    return n_jobs if n_jobs > 0 else max(int(cpu_count()) + 1 + n_jobs, 1)


def _is_stored(options: dict[str, Any]) -> bool:
    """Return whether a journal keeps the calls for the next start."""
    return options.get("journal") is not None and options.get("key") is not None


def _is_memory_lost(future: Future[Any]) -> bool:
    """Return whether a batch was not executed because its executor could not open its arrays."""
    try:
        return isinstance(future.exception(), SharedMemoryLost)
    except BaseException:  # noqa: BLE001 - whatever it is, the caller of Parallel gets it with the results
        return False
