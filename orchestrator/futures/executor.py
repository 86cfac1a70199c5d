"""SupervisedExecutor: `concurrent.futures.Executor` whose processes stop properly."""

from __future__ import annotations

import os
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from types import TracebackType
from typing import Any, Literal, TypeVar

from orchestrator.config import Settings
from orchestrator.core.ladder import Rung
from orchestrator.futures import interpreter_end
from orchestrator.futures.call_future import CallFuture
from orchestrator.futures.call_keys import CallNamer, KeyFunction, program_run_id
from orchestrator.futures.call_map import AHEAD, map_calls, map_unordered
from orchestrator.futures.pool import CallPool
from orchestrator.run_id import check_run_id, new_run_id
from runtime.errors import UsageError
from runtime.interrupt_signal import build_signal
from runtime.ipc.calls import make_call_agent
from runtime.limits import MAX_SLOTS, show_value
from runtime.reasons import InterruptReason
from runtime.stop_limits import TERM_GRACE

T = TypeVar("T")

OnCrash = Literal["task", "pool"]


class SupervisedExecutor(Executor):
    """Run functions in supervised processes. Use it wherever a ProcessPoolExecutor is used.

        with SupervisedExecutor(max_workers=4) as executor:
            for value in executor.map(work, items):
                print(value)

    Leaving the block waits for all calls; leaving it by an exception interrupts them. `cancel` of a future ends the
    function. A process that dies costs the call that it executed. When the program dies, however, its processes are
    gone after `grace` + `term_grace` and a second. docs/from-process-pools.md says what is different, and why.

    max_workers: processes; by default one for each processor that this one may use.
    mp_context: accepted; functions and arguments travel as with "spawn", whatever it says.
    initializer, initargs: called once in each process; if it fails, the executor is broken.
    max_tasks_per_child: calls after which a process is replaced. Default: never.
    journal: path of a journal that keeps the calls and their results.
    key: with a journal: what lets the same program, started again, get the results that it has. A string is the id of
    the run, and calls are known by function and arguments. A function `key(*args, **kwargs)` returns a call's name.
    run_id: the id of the run, where `key` is a function. Default: made of the name of the program.
    grace, term_grace: seconds between an interrupt, SIGTERM and SIGKILL. No grace by default: a plain function has no
    checkpoints, so it would go on through all of it. SIGTERM raises ExecutionInterrupted in it: its `finally` runs.
    timeout: seconds that one call may take; its future then raises TimeoutError.
    retries: how often a call that raised, or whose process died, is made again.
    on_crash: "task": a process that dies costs its call; "pool": the executor is broken, as the standard library's.
    slot_env: environment variables with a value for each process, set before it imports anything of the program.
    handle_signals: take SIGINT, SIGTERM and SIGHUP over from the first call to the end of `shutdown`; only where both
    are made in the main thread.

    Raises ValueError or TypeError as ProcessPoolExecutor does, UsageError (a ValueError) for what else cannot be.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        journal: str | os.PathLike[str] | None = None,
        key: str | KeyFunction | None = None,
        run_id: str | None = None,
        grace: float = 0.0,
        term_grace: float = TERM_GRACE,
        timeout: float | None = None,
        retries: int = 0,
        on_crash: OnCrash = "task",
        slot_env: Mapping[str, Sequence[object] | str] | None = None,
        handle_signals: bool = False,
    ) -> None:
        _check_arguments(max_workers, initializer, max_tasks_per_child, on_crash)
        _check_journal(journal, key, run_id)
        if getattr(mp_context, "_name", None) == "fork":
            warnings.warn(
                "SupervisedExecutor does not fork this process: functions see no globals that were changed in it",
                stacklevel=2,
            )
        options: dict[str, Any] = {} if max_workers is None else {"workers": max_workers}
        settings = Settings.from_options(
            **options, max_tasks_per_executor=max_tasks_per_child, grace=grace, term_grace=term_grace, timeout=timeout,
            retries=retries, crash_limit=retries + 1, oom_retries=retries, slot_env=slot_env or {},
        )  # fmt: skip
        if run_id is None:
            run_id = key if isinstance(key, str) else new_run_id() if key is None else program_run_id()
        check_run_id(run_id)
        self._max_workers = settings.workers
        self._pool = CallPool(
            settings,
            make_call_agent(None if initializer is None else partial(initializer, *initargs)),
            CallNamer(None if isinstance(key, str) else key, by_content=isinstance(key, str)),
            run_id=run_id, journal=journal, handle_signals=handle_signals, breaks_on_crash=on_crash == "pool",
        )  # fmt: skip
        interpreter_end.keep(self._pool)
        weakref.finalize(self, self._pool.close).atexit = False

    def __repr__(self) -> str:
        return f"<SupervisedExecutor max_workers={self._max_workers} run_id={self._pool.run_id!r}>"

    @property
    def run_id(self) -> str:
        """The id of the run, by which its journal has it."""
        return self._pool.run_id

    # -- calls --------------------------------------------------------------------------------------

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> CallFuture[T]:
        """Have `fn(*args, **kwargs)` called in a process. Return its future at once.

        What cannot be pickled fails the future. Raises RuntimeError after `shutdown`, BrokenProcessPool when the
        executor is broken, JournalError, and RunMismatchError for another call of a key that the run has.
        """
        interpreter_end.refuse_at_end()
        return self._pool.submit([(fn, args, kwargs)])[0]

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Yield `fn(*args)` for the arguments that the iterables give, in their order.

        All are read and handed in at once, unless `buffersize` says how many calls may be on the way. `chunksize`
        arguments make one call, which saves time for tiny functions. Raises TimeoutError while iterating when a value
        is not there `timeout` seconds after this call; what `fn` raises; ValueError for a chunksize below 1.
        """
        _check_sizes(chunksize, buffersize)
        interpreter_end.refuse_at_end()
        end = None if timeout is None else timeout + time.monotonic()
        return map_calls(self._pool, fn, zip(*iterables), chunksize, buffersize, end)  # noqa: B905 - as map does

    def imap(
        self, fn: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1, *, buffersize: int = AHEAD
    ) -> Iterator[T]:
        """Yield `fn(item)` in the order of the items, as `multiprocessing.Pool.imap`; they are read as they are needed.

        At most `buffersize` calls are on the way. Else as `map`.
        """
        return self.map(fn, iterable, chunksize=chunksize, buffersize=buffersize)

    def imap_unordered(
        self, fn: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1, *, buffersize: int = AHEAD
    ) -> Iterator[T]:
        """Yield `fn(item)` as soon as each is there, whatever their order. Else as `imap`."""
        _check_sizes(chunksize, buffersize)
        interpreter_end.refuse_at_end()
        return map_unordered(self._pool, fn, zip(iterable), chunksize, buffersize)

    def starmap(self, fn: Callable[..., T], iterable: Iterable[Iterable[Any]], chunksize: int = 1) -> list[T]:
        """Return the list of `fn(*arguments)`, as `multiprocessing.Pool.starmap`. Raises as `map`."""
        _check_sizes(chunksize, None)
        return list(map_calls(self._pool, fn, map(tuple, iterable), chunksize, None, None))

    # -- the end --------------------------------------------------------------------------------------

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. `wait`: return when all have ended. `cancel_futures`: cancel those that have not begun.

        May be called by any thread, and by a done-callback. A Ctrl-C while it waits interrupts the calls.
        """
        self._pool.close()
        if cancel_futures:
            self._pool.cancel_waiting()
        if wait:
            self._pool.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Shut down and wait; first interrupt all calls if an exception leaves the block."""
        if error is not None:
            self._pool.leave_by(error)
        self.shutdown(wait=True)
        return False

    def interrupt(
        self, reason: InterruptReason = InterruptReason.USER_CANCELLED, message: str = "", triggered_by: str = "api"
    ) -> None:
        """Interrupt every call, those that wait and those that run. Returns at once; from any thread.

        The futures raise ExecutionInterrupted with this reason. No more calls are taken. With a journal, the next start
        makes these calls again.
        """
        self._pool.interrupt(build_signal(reason, message, triggered_by))
        self._pool.close()

    def terminate_workers(self) -> None:
        """Cancel what has not begun and send SIGTERM to every process: its function gets ExecutionInterrupted.

        As ProcessPoolExecutor's of Python 3.14: returns at once, the executor cannot be used any more, and the futures
        of calls that ran raise BrokenProcessPool.
        """
        self._pool.end_processes(Rung.TERM)

    def kill_workers(self) -> None:
        """Cancel what has not begun and kill every process. Else as `terminate_workers`."""
        self._pool.end_processes(Rung.KILL)


def _check_arguments(max_workers: object, initializer: object, max_tasks_per_child: object, on_crash: object) -> None:
    """Raise TypeError or ValueError as ProcessPoolExecutor does."""
    if max_workers is not None and (not isinstance(max_workers, int) or max_workers <= 0):
        raise ValueError("max_workers must be greater than 0")
    if isinstance(max_workers, int) and max_workers > MAX_SLOTS:
        raise ValueError(f"max_workers must be <= {MAX_SLOTS}")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    if max_tasks_per_child is not None:
        if not isinstance(max_tasks_per_child, int):
            raise TypeError("max_tasks_per_child must be an integer")
        if max_tasks_per_child <= 0:
            raise ValueError("max_tasks_per_child must be >= 1")
    if on_crash not in ("task", "pool"):
        raise UsageError(f"on_crash = {show_value(on_crash)}: give 'task' or 'pool'")


def _check_sizes(chunksize: int, buffersize: object) -> None:
    """Raise ValueError or TypeError as Executor.map does."""
    if chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    if buffersize is not None and not isinstance(buffersize, int):
        raise TypeError("buffersize must be an integer or None")
    if buffersize is not None and buffersize < 1:
        raise ValueError("buffersize must be None or > 0")


def _check_journal(journal: object, key: object, run_id: object) -> None:
    if not isinstance(journal, str | os.PathLike | None):
        raise UsageError(f"journal = {show_value(journal)}: give a path, or None")
    if key is not None and not isinstance(key, str) and not callable(key):
        raise UsageError(f"key = {show_value(key)}: give the id of the run, or a function key(*args, **kwargs)")
    if journal is None and (key is not None or run_id is not None):
        raise UsageError(f"{'run_id' if key is None else 'key'} is for a journal: give journal=PATH, too")
    if isinstance(key, str) and run_id is not None:
        raise UsageError("key is the id of the run already: give run_id only with a function as key")
