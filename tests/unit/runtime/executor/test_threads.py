"""Whose a thread is, and whether it works. (With real executors: tests/process/test_threads.py.)"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, ContextVar
from functools import partial
from typing import Any

import pytest

from runtime.errors import ExecutionInterrupted
from runtime.executor.threads import ThreadWatch, names, raise_in, stacks
from runtime.model import InterruptReason, InterruptSignal

_owner: ContextVar[str | None] = ContextVar("owner", default=None)
STOP = InterruptSignal(reason=InterruptReason.CUSTOM, message="enough", triggered_by="test")


def owner_of(context: Context) -> str | None:
    return context.get(_owner)


class Work:
    """Something that a thread does until it is let go."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._go = threading.Event()
        self.ended_by: BaseException | None = None

    def __call__(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.ended_by = error

    def _work(self) -> None:
        """Loop. In its own function: CPython 3.13 may raise at the end of a loop outside of the `try` around it."""
        self._begun.set()
        while not self._go.is_set():
            pass

    def has_begun(self) -> None:
        assert self._begun.wait(10)

    def end(self) -> None:
        self._go.set()


@pytest.fixture
def watch() -> ThreadWatch:
    """One that counts every other thread of this process, whatever ran before."""
    made = ThreadWatch(owner_of)
    made.disregard(threading.current_thread())
    made._own_count = 0
    return made


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    yield made
    made.end()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Of one thread, which is there and idle."""
    made = ThreadPoolExecutor(1, thread_name_prefix="pool")
    made.submit(int).result()
    yield made
    made.shutdown(wait=False)


def start(target: Any) -> threading.Thread:
    thread = threading.Thread(target=target, name="worker")
    thread.start()
    return thread


def test_a_thread_that_was_started_since_is_the_tasks(watch: ThreadWatch, work: Work) -> None:
    before = watch.look()
    thread = start(work)
    work.has_begun()
    found = watch.of("a", before)
    assert names(found) == ["worker"]
    assert "in _work" in stacks(found)
    work.end()
    thread.join()
    assert watch.of("a", before) == {}


def test_a_thread_that_worked_before_is_not(watch: ThreadWatch, work: Work) -> None:
    start(work)
    work.has_begun()
    assert watch.of("a", watch.look()) == {}


def test_a_new_thread_of_an_agent_that_only_waits_is_the_tasks_all_the_same(watch: ThreadWatch) -> None:
    """It may be between two of its effects."""
    before, event = watch.look(), threading.Event()
    begun = threading.Event()

    def waits() -> None:
        begun.set()
        event.wait()

    start(waits)
    assert begun.wait(10)
    assert names(watch.of("a", before)) == ["worker"]
    event.set()


def test_an_idle_pool_is_nobodys_and_at_work_it_is(watch: ThreadWatch, work: Work, pool: ThreadPoolExecutor) -> None:
    before = watch.look()
    assert watch.of("a", before) == {}
    pool.submit(work)
    work.has_begun()
    assert names(watch.of("a", before)) == ["pool_0"]
    assert watch.of("b", watch.look()) == {}


def test_the_next_item_of_a_busy_pool_is_the_tasks(watch: ThreadWatch, work: Work, pool: ThreadPoolExecutor) -> None:
    """Also while it waits in the queue, unless it was cancelled there."""
    pool.submit(work)
    work.has_begun()
    before = watch.look()
    item = pool.submit(int)
    assert names(watch.of("a", before)) == ["pool_0"]
    assert item.cancel()
    assert watch.of("a", before) == {}


def test_a_context_says_whose_it_is(watch: ThreadWatch, work: Work, pool: ThreadPoolExecutor) -> None:
    before = watch.look()
    context = contextvars.copy_context()
    context.run(_owner.set, "a")
    pool.submit(partial(context.run, work))
    work.has_begun()
    assert names(watch.of("a", before, certain=True)) == ["pool_0"]
    assert names(watch.of("a", watch.look())) == ["pool_0"]
    assert watch.of("b", before) == {}


def test_what_may_be_anothers_is_not_certain(watch: ThreadWatch, work: Work) -> None:
    before = watch.look()
    start(work)
    work.has_begun()
    assert watch.of("a", before, certain=True) == {}


def test_an_interrupt_is_raised_in_a_thread_with_its_signal(work: Work) -> None:
    thread = start(work)
    work.has_begun()
    raise_in(thread.ident or 0, STOP)
    thread.join(10)
    assert isinstance(work.ended_by, ExecutionInterrupted)
    assert work.ended_by.signal == STOP


def test_what_the_interpreter_would_wait_for_is_named(watch: ThreadWatch, work: Work, pool: ThreadPoolExecutor) -> None:
    start(work)
    work.has_begun()
    assert "worker" in names(watch.lingering())
    assert "pool_0" not in names(watch.lingering())
    assert pool is not None
