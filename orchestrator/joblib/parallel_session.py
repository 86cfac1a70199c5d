"""What one `Parallel` has while it runs: executors, arrays in shared memory, and where its results go."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from joblib.parallel import BatchedCalls

from orchestrator.joblib.arrays import ArrayShare
from orchestrator.joblib.batch_job import BatchJob, gather
from orchestrator.joblib.call_names import are_there_watchers, leave_out_watchers
from orchestrator.joblib.executors import IDLE, Pool
from orchestrator.joblib.result_memory import ResultMemory
from runtime.array_call import StoredCall, call_packed


@dataclass(eq=False)
class ParallelSession:
    """Hand batches in. The executors are its own until `end` or `abort`."""

    parallel: Any
    pool: Pool
    share: ArrayShare
    memory: ResultMemory | None
    is_over: bool = False

    def send_or_fail(self, job: BatchJob) -> None:
        """Hand a batch in. What cannot be handed in fails like a call: the caller of `Parallel` gets the error."""
        try:
            self._send(job)
        except Exception as error:  # noqa: BLE001 - the arguments' own code, when they are pickled
            job.fail(error)

    def _send(self, job: BatchJob) -> None:
        if self.is_over:
            raise RuntimeError("this Parallel is over: its executors were given back, or ended by an error")
        if self.pool.names is not None:
            job.future = gather(self._send_stored(job))
            return
        data, job.segments = self.share.dump(job.batch)
        job.memory = self.memory
        place = None if job.memory is None else job.memory.place
        job.future = self.pool.executor.submit(call_packed, data, place)

    def _send_stored(self, job: BatchJob) -> list[Future[Any]]:
        """Hand in each call of a batch as a task of its own: the next start may cut batches otherwise."""
        assert self.pool.names is not None
        batch = job.batch
        futures: list[Future[Any]] = []
        job.segments = []
        for item in batch.items:
            function, args, kwargs = item
            single = BatchedCalls([item], (batch._backend, batch._n_jobs))  # noqa: SLF001 - what it was made with
            data, segments = self.share.dump(single)
            job.segments += segments
            digest = self.pool.names.note(args, kwargs, self._content(single, data))
            futures.append(self.pool.executor.submit(StoredCall(*_name_of(function), data), digest))
        return futures

    def _content(self, single: BatchedCalls, data: bytes) -> bytes:
        """Return what names a call: its pickle, without what has another id in each start."""
        return self.share.dump(single, leave_out_watchers)[0] if are_there_watchers() else data

    def stop_sharing(self) -> None:
        """Have all arrays go through the pipe from now on: executors cannot open this process's memory."""
        self.share, self.memory = ArrayShare(None, "r"), None

    def end(self, idle_seconds: float) -> None:
        """Give the executors back: all calls are over."""
        self._close()
        IDLE.give_back(self.pool, idle_seconds)

    def abort(self) -> None:
        """End all calls, running ones too, and wait for that: TERM, and KILL after `term_grace`."""
        self._close()
        self.pool.executor.terminate_workers()
        self.pool.executor.shutdown()

    def _close(self) -> None:
        self.is_over = True
        self.share.clear()
        self.memory = None


def _name_of(function: Any) -> tuple[str, str]:
    """Return module and name of a function; of what is wrapped (functools.wraps, partial, scikit-learn's delayed)."""
    while (inner := getattr(function, "__wrapped__", None) or getattr(function, "func", None)) is not None:
        function = inner
    function = getattr(function, "function", function)
    named = function if hasattr(function, "__qualname__") else type(function)
    return str(named.__module__), str(named.__qualname__)
