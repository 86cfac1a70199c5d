"""One face for every pool: start it, give it one task, give it many one by one, stop it as its documents say.

Nothing is chunked or batched by hand: the budgets are about tasks that come one by one, because that is what
can be interrupted, retried and recorded one by one.
"""

from __future__ import annotations

import concurrent.futures
import importlib.util
import multiprocessing
import os
import struct
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

Work = Callable[..., Any]


class Contender(ABC):
    """A pool of worker processes. `needs` is the module without which it is skipped."""

    needs = ""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @abstractmethod
    def call(self, work: Work, value: Any) -> Any:
        """One task there and back."""

    @abstractmethod
    def each(self, work: Work, values: Iterable[Any]) -> Iterator[Any]:
        """Many tasks, each sent by itself; results as they come. What failed is left out."""

    @abstractmethod
    def stop(self) -> None:
        """Stop now, whatever runs, the way its documents suggest for SIGTERM."""

    def batched(self, work: Work, values: Sequence[Any], size: int) -> Iterator[Any]:
        """Many tasks, `size` of them in one message, by the pool's own means; results in order."""
        raise NotImplementedError(f"{type(self).__name__} has no batches")

    def pids(self) -> list[int]:
        """Return the process ids of the workers."""
        raise NotImplementedError(f"{type(self).__name__} does not tell its workers")


class _FutureLike(Contender):
    """A pool with `submit` as in concurrent.futures."""

    pool: Any

    def submit(self, work: Work, value: Any) -> Any:
        """Return the future of one task."""
        return self.pool.submit(work, value)

    def call(self, work: Work, value: Any) -> Any:
        return self.submit(work, value).result()

    def each(self, work: Work, values: Iterable[Any]) -> Iterator[Any]:
        for future in concurrent.futures.as_completed([self.submit(work, value) for value in values]):
            try:
                yield future.result()
            except Exception:
                continue

    def batched(self, work: Work, values: Sequence[Any], size: int) -> Iterator[Any]:
        yield from self.pool.map(work, values, chunksize=size)


class Futures(_FutureLike):
    """concurrent.futures.ProcessPoolExecutor, fork."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        context = multiprocessing.get_context("fork")
        self.pool = concurrent.futures.ProcessPoolExecutor(workers, mp_context=context)

    def stop(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)


class Loky(_FutureLike):
    """loky's reusable executor."""

    needs = "loky"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        import loky  # noqa: PLC0415 - a peer is imported by its own measurement only

        self.pool = loky.get_reusable_executor(max_workers=workers, timeout=None)

    def stop(self) -> None:
        self.pool.shutdown(wait=True, kill_workers=True)


class Pebble(_FutureLike):
    """pebble.ProcessPool."""

    needs = "pebble"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        import pebble  # noqa: PLC0415

        self.pool = pebble.ProcessPool(max_workers=workers, context=multiprocessing.get_context("fork"))

    def submit(self, work: Work, value: Any) -> Any:
        return self.pool.schedule(work, args=[value])

    def batched(self, work: Work, values: Sequence[Any], size: int) -> Iterator[Any]:
        yield from self.pool.map(work, values, chunksize=size).result()

    def stop(self) -> None:
        self.pool.stop()
        self.pool.join()


class Pool(Contender):
    """multiprocess.Pool (the dill fork of multiprocessing's), fork."""

    needs = "multiprocess"
    method = "fork"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        import multiprocess  # noqa: PLC0415

        self.pool = multiprocess.get_context(self.method).Pool(workers)

    def call(self, work: Work, value: Any) -> Any:
        return self.pool.apply_async(work, (value,)).get()

    def each(self, work: Work, values: Iterable[Any]) -> Iterator[Any]:
        yield from self.pool.imap_unordered(work, values, chunksize=1)

    def batched(self, work: Work, values: Sequence[Any], size: int) -> Iterator[Any]:
        yield from self.pool.imap(work, values, chunksize=size)

    def pids(self) -> list[int]:
        return [process.pid for process in self.pool._pool]  # noqa: SLF001 - it has no public word for them

    def stop(self) -> None:
        self.pool.terminate()
        self.pool.join()


class ForkserverPool(Pool):
    """multiprocess.Pool, forkserver."""

    method = "forkserver"


class Mpire(Contender):
    """mpire.WorkerPool, fork, kept alive between calls."""

    needs = "mpire"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        from mpire.pool import WorkerPool  # noqa: PLC0415

        self.pool = WorkerPool(n_jobs=workers, start_method="fork", keep_alive=True)

    def call(self, work: Work, value: Any) -> Any:
        return self.pool.apply(work, (value,))

    def each(self, work: Work, values: Iterable[Any]) -> Iterator[Any]:
        # A one-tuple keeps mpire from spreading a dict over keyword arguments.
        yield from self.pool.imap_unordered(work, [(value,) for value in values], chunk_size=1)

    def batched(self, work: Work, values: Sequence[Any], size: int) -> Iterator[Any]:
        yield from self.pool.imap(work, [(value,) for value in values], chunk_size=size)

    def stop(self) -> None:
        self.pool.terminate()


class Joblib(Contender):
    """joblib.Parallel on loky, results as they come."""

    needs = "joblib"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        import joblib  # noqa: PLC0415

        self._delayed = joblib.delayed
        self.pool = joblib.Parallel(n_jobs=workers, batch_size=1, return_as="generator_unordered")

    def call(self, work: Work, value: Any) -> Any:
        return next(iter(self.pool([self._delayed(work)(value)])))

    def each(self, work: Work, values: Iterable[Any]) -> Iterator[Any]:
        yield from self.pool(self._delayed(work)(value) for value in values)

    def stop(self) -> None:
        from joblib.externals.loky import get_reusable_executor  # noqa: PLC0415

        get_reusable_executor().shutdown(wait=True, kill_workers=True)


class Quiesce(Contender):
    """This project, without a journal."""

    needs = "orchestrator"
    journal: str | None = None

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        from orchestrator import Supervisor  # noqa: PLC0415

        self.pool = Supervisor(workers=workers, journal=self.journal)
        self.pool.__enter__()

    def call(self, work: Work, value: Any) -> Any:
        return self.pool.submit(work, value).result()

    def each(self, work: Work, values: Iterable[Any]) -> Iterator[Any]:
        for outcome in self.pool.map_unordered(work, values):
            if outcome.ok:
                yield outcome.value

    def pids(self) -> list[int]:
        while len(pids := [executor.pid for executor in self.pool.status.executors if executor.pid]) < self.workers:
            time.sleep(0.05)  # the status is renewed a few times a second
        return pids

    def stop(self) -> None:
        self.pool.__exit__(*sys.exc_info())


class QuiesceJournal(Quiesce):
    """This project, every result committed to a journal on disk before it is shown."""

    def __init__(self, workers: int) -> None:
        self.journal = os.path.join(os.environ["BENCH_FOLDER"], "bench.db")
        super().__init__(workers)


class QuiesceExecutor(_FutureLike):
    """This project's concurrent.futures.Executor."""

    needs = "orchestrator.futures"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        from orchestrator.futures import SupervisedExecutor  # noqa: PLC0415

        self.pool = SupervisedExecutor(workers)

    def stop(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)


class BarePipes(Contender):
    """The floor: fork, one pipe each way, eight bytes a message, nothing else. Adds one, whatever the work is."""

    _WINDOW = 512  # messages that may be under way to one worker: a pipe holds them all
    _NUMBER = struct.Struct("=q")

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._pipes = [self._fork() for _ in range(workers)]

    def _fork(self) -> tuple[int, int]:
        task_read, task_write = os.pipe()
        result_read, result_write = os.pipe()
        if os.fork() == 0:
            os.close(task_write)
            os.close(result_read)
            size = self._NUMBER.size
            while data := os.read(task_read, 4096 * size):
                numbers = struct.unpack(f"={len(data) // size}q", data)
                for number in numbers:
                    os.write(result_write, self._NUMBER.pack(number + 1))
            os._exit(0)
        os.close(task_read)
        os.close(result_write)
        return task_write, result_read

    def call(self, work: Work, value: Any) -> Any:
        write, read = self._pipes[0]
        os.write(write, self._NUMBER.pack(value))
        return self._NUMBER.unpack(os.read(read, 8))[0]

    def each(self, work: Work, values: Iterable[Any]) -> Iterator[Any]:
        source, under_way = iter(values), [0] * self.workers
        while True:
            for index, (write, _) in enumerate(self._pipes):
                while under_way[index] < self._WINDOW and (value := next(source, None)) is not None:
                    os.write(write, self._NUMBER.pack(value))
                    under_way[index] += 1
            if not any(under_way):
                return
            for index, (_, read) in enumerate(self._pipes):
                if under_way[index]:
                    data = os.read(read, 65536)
                    under_way[index] -= len(data) // 8
                    yield from struct.unpack(f"={len(data) // 8}q", data)

    def stop(self) -> None:
        for write, read in self._pipes:
            os.close(write)
            os.close(read)
        for _ in self._pipes:
            os.wait()


CONTENDERS: dict[str, type[Contender]] = {
    "quiesce": Quiesce,
    "quiesce + journal": QuiesceJournal,
    "quiesce executor": QuiesceExecutor,
    "multiprocess.Pool": Pool,
    "multiprocess.Pool forkserver": ForkserverPool,
    "concurrent.futures": Futures,
    "pebble": Pebble,
    "mpire": Mpire,
    "loky": Loky,
    "joblib": Joblib,
    "bare pipes": BarePipes,
}
"""By the name under which it is reported."""


def available(name: str) -> bool:
    """Whether a contender's module is installed."""
    needs = CONTENDERS[name].needs
    return not needs or importlib.util.find_spec(needs) is not None
