"""The iterators behind `map`, `imap` and the like: hand calls in, in batches, and yield their values."""

from __future__ import annotations

import itertools
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, cast

from orchestrator.futures.call_future import CallFuture
from orchestrator.futures.pool import CallPool
from runtime.ipc.calls import Call, run_chunk

BATCH = 256
"""Calls that are handed in together."""

AHEAD = 1024
"""Calls that `imap` and `imap_unordered` have on the way, at most."""


def make_calls(fn: Callable[..., Any], arguments: Iterable[Sequence[Any]], chunksize: int) -> Iterator[Call]:
    """Yield the calls of a function, `chunksize` arguments in each."""
    if chunksize == 1:
        return ((fn, args, {}) for args in arguments)
    iterator = iter(arguments)
    chunks = iter(lambda: tuple(itertools.islice(iterator, chunksize)), ())
    return ((run_chunk, (fn, chunk), {}) for chunk in chunks)


def map_calls(
    pool: CallPool,
    fn: Callable[..., Any],
    arguments: Iterable[Sequence[Any]],
    chunksize: int,
    buffersize: int | None,
    end: float | None,
) -> Iterator[Any]:
    """Hand in calls now, all or as many as `buffersize` says, and return the iterator of their values.

    `end`: monotonic seconds after which waiting raises TimeoutError.
    """
    calls = make_calls(fn, arguments, chunksize)
    waiting: deque[CallFuture[Any]] = deque()
    first = calls if buffersize is None else itertools.islice(calls, buffersize)
    while batch := list(itertools.islice(first, BATCH)):
        waiting.extend(pool.submit(batch))
    rest = iter(()) if buffersize is None else calls
    values = _values(pool, waiting, rest, end)
    return values if chunksize == 1 else itertools.chain.from_iterable(values)


def _result(future: CallFuture[Any], end: float | None) -> Any:
    """Wait for a value; cancel the call if it does not come. Keeps nothing alive when an exception leaves it."""
    try:
        try:
            return future.result(None if end is None else end - time.monotonic())
        finally:
            future.cancel()
    finally:
        del future


def _values(pool: CallPool, waiting: deque[CallFuture[Any]], calls: Iterator[Call], end: float | None) -> Iterator[Any]:
    """Yield values in order; for each that is taken, hand in another call. Left early, cancel the rest."""
    try:
        while waiting:
            if more := list(itertools.islice(calls, 1)):
                waiting.extend(pool.submit(more))
            yield _result(waiting.popleft(), end)  # no variable keeps it while the caller has it
    finally:
        for future in waiting:
            future.cancel()
        waiting.clear()


def map_unordered(
    pool: CallPool, fn: Callable[..., Any], arguments: Iterable[Sequence[Any]], chunksize: int, buffersize: int
) -> Iterator[Any]:
    """Hand in as many calls as `buffersize` says, and return the iterator of their values as they come."""
    calls = make_calls(fn, arguments, chunksize)
    arrived: queue.SimpleQueue[CallFuture[Any]] = queue.SimpleQueue()
    waiting: set[CallFuture[Any]] = set()
    _hand_in(pool, list(itertools.islice(calls, buffersize)), waiting, arrived)
    values = _arriving(pool, calls, waiting, arrived)
    return values if chunksize == 1 else itertools.chain.from_iterable(values)


def _hand_in(
    pool: CallPool, calls: list[Call], waiting: set[CallFuture[Any]], arrived: queue.SimpleQueue[CallFuture[Any]]
) -> None:
    if calls:
        futures = pool.submit(calls)
        waiting.update(futures)
        for future in futures:
            Future.add_done_callback(future, cast("Any", arrived.put))  # it does not block: no thread of its own


def _arriving(
    pool: CallPool,
    calls: Iterator[Call],
    waiting: set[CallFuture[Any]],
    arrived: queue.SimpleQueue[CallFuture[Any]],
) -> Iterator[Any]:
    try:
        while waiting:
            future = arrived.get()
            waiting.discard(future)
            _hand_in(pool, list(itertools.islice(calls, 1)), waiting, arrived)
            yield future.result()
    finally:
        for future in waiting:
            future.cancel()
