"""The journal's thread: every waiter gets an answer, whatever becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from orchestrator.core import stimuli
from orchestrator.core.records import NewTask
from orchestrator.engine.hub import Hub
from orchestrator.engine.journal_writer import JournalWriter
from orchestrator.engine.task_store import WriteBatch
from orchestrator.journal import Journal, JournalError
from runtime.errors import ExecutionInterrupted, QuiesceError
from runtime.model import InterruptReason, InterruptSignal

TASK = [NewTask("a", b"1")]


class Disk:
    """A journal that does what a test wants when tasks are added."""

    def __init__(self, add: Callable[[], tuple[int, int]]) -> None:
        self._add = add

    def add_tasks(self, run: int, tasks: Any) -> tuple[int, int]:
        return self._add()

    def data_version(self) -> int:
        return 1

    def handle_contention(self, handler: Any) -> None:
        pass

    def close(self) -> None:
        pass

    def take_requests(self, run: int) -> list[Any]:
        return []


def store_on(add: Callable[[], tuple[int, int]]) -> tuple[JournalWriter, list[stimuli.Stimulus]]:
    heard: list[stimuli.Stimulus] = []
    store = JournalWriter(Hub(), heard.append)
    store.start(cast("Journal", Disk(add)), 1)
    return store, heard


def test_a_task_that_comes_while_the_store_closes_is_answered() -> None:
    """It is in the same batch as the end, or behind it: both times it is never written."""
    busy, go_on = threading.Event(), threading.Event()

    def add() -> tuple[int, int]:
        busy.set()
        assert go_on.wait(10)
        return 1, 1

    store, _ = store_on(add)
    first = store.add_tasks(TASK)
    assert busy.wait(10)
    closing = threading.Thread(target=store.close, args=(10,))
    closing.start()
    late = []
    while store._queue.empty():  # until the end stands in the queue
        pass
    late.append(store.add_tasks(TASK))
    go_on.set()
    closing.join(10)
    assert first.exception(10) is None
    with pytest.raises(QuiesceError, match="the supervisor has ended"):
        late[0].result(10)
    with pytest.raises(QuiesceError, match="the supervisor has ended"):
        store.add_tasks(TASK).result(10)


def test_who_waits_for_a_disk_that_hangs_is_told_when_all_is_over_and_its_late_answer_harms_nobody() -> None:
    go_on = threading.Event()

    def hangs() -> tuple[int, int]:
        assert go_on.wait(10)
        return 1, 1

    store, heard = store_on(hangs)
    waiting = store.add_tasks(TASK)
    store.fail_pending(ExecutionInterrupted(InterruptSignal(reason=InterruptReason.TIMEOUT)))
    with pytest.raises(ExecutionInterrupted):
        waiting.result(10)
    assert store.close(0.01) is False
    with pytest.raises(ExecutionInterrupted):
        store.add_tasks(TASK).result(10)
    go_on.set()
    assert store.close(10) is True
    assert not [each for each in heard if isinstance(each, stimuli.JournalFailed)]


def test_a_defect_in_the_thread_is_told_as_a_failed_journal() -> None:
    def breaks() -> tuple[int, int]:
        raise MemoryError

    store, heard = store_on(breaks)
    with pytest.raises(JournalError, match="MemoryError"):
        store.add_tasks(TASK).result(10)
    store.commit(WriteBatch(attempts={1: 1}, weight=7))
    with pytest.raises(JournalError, match="MemoryError"):
        store.add_tasks(TASK).result(10)
    assert store.unwritten_bytes == 0
    assert store.close(10)
    (failed,) = [each for each in heard if isinstance(each, stimuli.JournalFailed)]
    assert "MemoryError" in failed.problem
