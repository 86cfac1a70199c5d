"""One batch of calls that joblib handed in: where its arrays are, and how its results are read."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from orchestrator.joblib.result_memory import ResultMemory
from runtime.array_call import PackedResult
from runtime.ipc.shared_memory import Segment


class BatchJob:
    """Handle one batch, as joblib keeps it until its callback was called.

    It keeps the memory that its arguments are in: the batch may be tried again by another executor.
    """

    def __init__(self, batch: Any) -> None:
        self.batch = batch
        self.segments: Sequence[Segment] = ()
        self.memory: ResultMemory | None = None
        self.future: Future[Any] = Future()

    def fail(self, error: BaseException) -> None:
        """Have the results raise this: the batch cannot be handed in."""
        self.future = Future()
        self.future.set_exception(error)

    def results(self) -> Any:
        """Return the list of results, or raise what a call raised. Call it once, when the future is done."""
        self.batch, self.segments = None, ()
        result = self.future.result()
        if not isinstance(result, PackedResult) or self.memory is None:
            return result
        return self.memory.unpack(result)


def gather(futures: Iterable[Future[Any]]) -> Future[list[Any]]:
    """Return a future of the list of results. It fails with the first that fails, and the others are cancelled."""
    waiting = list(futures)
    gathered: Future[list[Any]] = Future()
    missing = set(waiting)
    lock = threading.Lock()

    def take(future: Future[Any]) -> None:
        error = _error_of(future)
        with lock:
            missing.discard(future)
            is_last = error is not None or not missing
            if gathered.running() or gathered.done() or not is_last:
                return
            gathered.set_running_or_notify_cancel()
        if error is None:
            gathered.set_result([future.result() for future in waiting])
            return
        gathered.set_exception(error)
        for other in waiting:
            other.cancel()

    for future in waiting:
        future.add_done_callback(take)
    return gathered


def _error_of(future: Future[Any]) -> BaseException | None:
    try:
        return future.exception()
    except BaseException as error:  # noqa: BLE001 - CancelledError, and what reading the result raises
        return error
