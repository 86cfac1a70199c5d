"""Find the threads that a task has left running, notice their end, and raise in them.

Theory. A thread cannot be cancelled: the await of `asyncio.to_thread(f)` ends, and `f` goes on. So a task that was
interrupted or has failed is over only when its threads are. Which threads are its own is decided once, at such an end,
by a look at the frames of all threads; a task that completes costs nothing, and one that begins while the executor has
no thread but its own two costs the reading of a counter.

- A thread that carries the context of a task (`asyncio.to_thread`, `run_in_executor`, anyio, asgiref) belongs to that
  task, and to no other. So does what waits in a pool's queue.
- A thread that was started since the task began is its own, unless it only waits, in library code: an idle pool worker,
  the monitor of a progress bar, a loop without tasks.
- A thread that was there before is the task's if it was waiting when the task began and works now, or if it is a pool's
  and has another item in hand or before it. A library's own thread that sends a heartbeat now and then may look like
  that for a moment; it waits again at one of the next looks.

Where tasks share an event loop, a thread without a context may be any one's that runs; it is then taken for the one's
that ended, which costs a delay and never a second execution.

Rejected: patching Thread.start or the pools (they are the agent's, and libraries patch them too); sys.setprofile
(slow); to compare the threads only (a pool's thread outlives the task whose work it does).
"""

from __future__ import annotations

import _thread
import asyncio
import ctypes
import functools
import gc
import selectors
import socket
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import thread as pools
from contextlib import suppress
from contextvars import Context, copy_context
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from runtime.errors import ExecutionInterrupted
from runtime.reasons import escape_surrogates

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

_HELPERS = (
    ("multiprocessing/pool.py", ("_handle_workers", "_handle_tasks", "_handle_results")),
    ("multiprocessing/queues.py", ("_feed",)),
    ("concurrent/futures/process.py", ("run",)),
    ("asyncio/unix_events.py", ("_do_waitpid",)),
    ("asyncio/base_events.py", ("_do_shutdown",)),
)
"""Threads of the standard library that serve a pool or a loop and do no work of their own: file and function."""

STACK_LIMIT = 4000
"""Characters of a thread's stack that are reported."""

_POOL_WORKER: CodeType = pools._worker.__code__  # noqa: SLF001 - the loop of a pool's thread
_HANDS_OVER = sys.version_info >= (3, 13)
_LIBRARY = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<frozen "})
_PACKAGES = ("/site-packages/", "/dist-packages/")


def give_context_to_pools(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop's `run_in_executor` hand on the caller's context, as `asyncio.to_thread` does.

    So it is known whose task a pool's thread works for. The loop is the executor's own; one that is written in C
    (uvloop) stays as it is.
    """
    plain = loop.run_in_executor

    def run_in_executor(executor: Any, function: Any, *args: Any) -> asyncio.Future[Any]:
        if executor is None or isinstance(executor, pools.ThreadPoolExecutor):
            function, args = functools.partial(copy_context().run, function, *args), ()
        return plain(executor, function, *args)

    with suppress(AttributeError):
        loop.run_in_executor = run_in_executor  # type: ignore[method-assign,assignment]


def _codes_that_wait() -> frozenset[CodeType]:
    """Return the functions of the standard library in which a thread only waits."""
    functions: list[Any] = [threading.Condition.wait, socket.socket.accept, pools._worker]  # noqa: SLF001
    functions += [getattr(threading.Thread, name, None) for name in ("join", "_wait_for_tstate_lock")]
    kinds = [getattr(selectors, f"{name}Selector", None) for name in ("Select", "Poll", "Epoll", "Kqueue", "Devpoll")]
    functions += [getattr(kind, "select", None) for kind in kinds]
    codes = (getattr(function, "__code__", None) for function in functions)
    return frozenset(code for code in codes if code is not None)


_WAITS = _codes_that_wait()


class Doing(NamedTuple):
    """What a thread did when it was checked. `thread`: its object, None for one that `threading` does not know.

    `waits`: for others, in the standard library. `items`: the work that its pool had in hand and before it.
    """

    thread: threading.Thread | None
    waits: bool
    items: tuple[ref[Any], ...] = ()


def _doing(thread: threading.Thread | None, frame: FrameType) -> Doing:
    if frame.f_code in _WAITS:
        return Doing(thread, waits=True)
    return Doing(thread, waits=False, items=tuple(map(ref, _pool_work(frame) or ())))


Seen = Mapping[int, Doing]
"""Threads by ident."""


class ThreadWatch:
    """Finds the threads of this process that work for a task. `owner_of` returns the task of a context."""

    def __init__(self, owner_of: Callable[[Context], object | None]) -> None:
        self._ours = {threading.main_thread().ident}
        self._owner_of = owner_of
        self._own_count = 0

    def disregard(self, thread: threading.Thread) -> None:
        """Exclude a started thread of the executor's own."""
        self._ours.add(thread.ident)
        self._own_count = _thread._count()  # noqa: SLF001 - what threading.active_count() cannot say without a lock

    def look(self) -> Seen:
        """Return what the other threads do at the beginning of a task."""
        if _thread._count() <= self._own_count:  # noqa: SLF001
            return {}
        threads = threading._active  # type: ignore[attr-defined]  # noqa: SLF001
        return {ident: _doing(threads.get(ident), frame) for ident, frame in self._frames()}

    def _frames(self) -> Iterator[tuple[int, FrameType]]:
        yield from ((ident, frame) for ident, frame in sys._current_frames().items() if ident not in self._ours)  # noqa: SLF001

    def of(self, owner: object, before: Seen, *, certain: bool = False) -> dict[int, FrameType]:
        """Return the threads that work for `owner`, at whose beginning `look` returned `before`.

        `certain`: only those that can belong to no other task.
        """
        if _thread._count() <= self._own_count:  # noqa: SLF001
            return {}
        return {ident: frame for ident, frame in self._frames() if self._is_of(owner, before, ident, frame, certain)}

    def _is_of(self, owner: object, before: Seen, ident: int, frame: FrameType, certain: bool) -> bool:
        thread = threading._active.get(ident)  # type: ignore[attr-defined]  # noqa: SLF001
        then = before.get(ident)
        if then is not None and then.thread is not thread:
            then = None  # another one has its ident now
        work = _pool_work(frame)
        if work is not None:
            earlier_items = () if then is None else tuple(item() for item in then.items)
            return any(self._is_work_of(owner, item, earlier_items, certain) for item in work)
        context = _anyio_context(frame)
        of = None if context is None else self._owner_of(context)
        if of is not None:
            return of is owner
        if certain:
            return False
        if then is None:
            return not _is_idle(frame, thread)
        return then.waits and frame.f_code not in _WAITS

    def _is_work_of(self, owner: object, item: Any, earlier_items: tuple[Any, ...], certain: bool) -> bool:
        context = _bound_context(item.fn)
        of = None if context is None else self._owner_of(context)
        if of is not None:
            return of is owner
        return not certain and not any(item is earlier for earlier in earlier_items)

    def lingering(self) -> dict[int, FrameType]:
        """Return the threads that the interpreter would wait for at exit and that do something."""
        threads = threading._active  # type: ignore[attr-defined]  # noqa: SLF001
        return {
            ident: frame
            for ident, frame in self._frames()
            if (thread := threads.get(ident)) is not None and not thread.daemon and not _is_idle(frame, thread)
        }


def names(idents: Mapping[int, FrameType]) -> list[str]:
    """Return the names of these threads."""
    threads = threading._active  # type: ignore[attr-defined]  # noqa: SLF001
    return [escape_surrogates(threads[ident].name) if ident in threads else f"thread {ident}" for ident in idents]


def stacks(frames: Mapping[int, FrameType]) -> str:
    """Return the Python stacks of these threads as text."""
    parts = [
        f"{name}:\n{''.join(traceback.format_stack(frame))[-STACK_LIMIT:]}"
        for name, frame in zip(names(frames), frames.values(), strict=True)
    ]
    return escape_surrogates("\n".join(parts))[: 4 * STACK_LIMIT]


def raise_in(ident: int, signal: InterruptSignal) -> None:
    """Raise ExecutionInterrupted in a thread, at its next bytecode. It ends no system call, and nothing in C.

    CPython makes the instance itself, without arguments: so the class is one that knows the signal.
    """

    def init(self: ExecutionInterrupted) -> None:
        ExecutionInterrupted.__init__(self, signal)

    kind = type("ExecutionInterrupted", (ExecutionInterrupted,), {"__init__": init, "__module__": "runtime.errors"})
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(kind))


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _pool_work(frame: FrameType) -> list[Any] | None:
    """Return the running and queued items of a ThreadPoolExecutor's thread; None for any other thread."""
    worker = _worker_frame(frame)
    if worker is None:
        return None
    work = _visible_work(worker)
    if _HANDS_OVER and not work:
        return _handed_over()
    return [item for item in work if not item.future.cancelled()]


def _worker_frame(frame: FrameType) -> FrameType | None:
    return next((caller for caller in _stack(frame) if caller.f_code is _POOL_WORKER), None)


def _visible_work(worker: FrameType) -> list[Any]:
    """Return the running item of a pool's thread, and those in its queue.

    The queue cannot be looked into, but the garbage collector's view of it can (a list, or the items themselves).
    """
    there = worker.f_locals
    work, queue = [there.get("work_item")], there.get("work_queue")
    if queue is not None and queue.qsize():
        for referent in gc.get_referents(queue):
            work += referent if isinstance(referent, list) else [referent]
    return [item for item in work if isinstance(item, pools._WorkItem)]  # noqa: SLF001


def _handed_over() -> list[Any]:
    """Return the items that are not done and that no pool shows: they are on their way to threads that wait.

    From CPython 3.13 a SimpleQueue gives an item straight to a thread that waits for one. Until that thread runs, the
    item is neither in the queue nor in the thread's frame. It costs a scan of all objects, at a task's end without a
    result, where a pool is idle.
    """
    workers = filter(None, map(_worker_frame, sys._current_frames().values()))  # noqa: SLF001
    shown = {id(item) for worker in workers for item in _visible_work(worker)}
    items = (candidate for candidate in gc.get_objects() if type(candidate) is pools._WorkItem)  # noqa: SLF001
    return [item for item in items if not item.future.done() and id(item) not in shown]


def _anyio_context(frame: FrameType) -> Context | None:
    """Return the context that anyio gave to a thread, or None."""
    called: FrameType | None = None
    for caller in _stack(frame):
        if caller.f_code.co_name == "run" and "/anyio/" in caller.f_code.co_filename:
            is_waiting = called is None or called.f_code.co_filename.endswith("/queue.py")
            context = None if is_waiting else caller.f_locals.get("context")
            return context if isinstance(context, Context) else None
        called = caller
    return None


def _bound_context(function: Any) -> Context | None:
    while isinstance(function, functools.partial):
        function = function.func
    owner = getattr(function, "__self__", None)
    return owner if isinstance(owner, Context) else None


def _is_idle(frame: FrameType, thread: threading.Thread | None) -> bool:
    """Return whether a thread only waits, and no frame of its stack is an agent's code.

    An agent may be an installed package: a thread that waits there is idle only if it waits for work, or is a daemon.
    """
    work = _pool_work(frame)
    if work is not None:
        return not work
    stack = [caller.f_code for caller in _stack(frame)]
    if any(_is_helper(code) for code in stack):
        return True
    if frame.f_code not in _WAITS or any(_has_tasks(caller) for caller in _stack(frame)):
        return False
    foreign = [code for code in stack if not code.co_filename.startswith(_LIBRARY) or _is_package(code)]
    waits_for_work = len(stack) > 1 and stack[1].co_filename.endswith("/queue.py")
    may_wait = waits_for_work or thread is None or thread.daemon
    return not foreign or (may_wait and all(_is_package(code) for code in foreign))


def _is_package(code: CodeType) -> bool:
    return any(part in code.co_filename for part in _PACKAGES)


def _is_helper(code: CodeType) -> bool:
    return any(code.co_name in functions and code.co_filename.endswith(file) for file, functions in _HELPERS)


def _has_tasks(frame: FrameType) -> bool:
    """Return whether this is the frame of an event loop that has something to do."""
    if frame.f_code.co_name != "run_forever":
        return False
    loop = frame.f_locals.get("self")
    return isinstance(loop, asyncio.AbstractEventLoop) and bool(asyncio.all_tasks(loop))
