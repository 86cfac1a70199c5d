"""The backlog: in order, bounded, and nothing is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.records import NewTask, PendingTask
from orchestrator.core.stimuli import TasksAdded
from orchestrator.core.task_queue import WINDOW_BYTES, WINDOW_TASKS, TaskQueue


def task(seq: int, size: int = 1, priority: int = 0) -> PendingTask:
    return PendingTask(seq, f"k{seq}", b"x" * size, priority=priority)


def filled(count: int) -> TaskQueue:
    backlog = TaskQueue()
    backlog.on_run_resumed(count)
    assert backlog.next_fetch() is not None
    backlog.on_tasks_fetched([task(seq) for seq in range(1, count + 1)], count, {0})
    return backlog


def test_first_in_first_out_and_what_comes_back_goes_in_front() -> None:
    backlog = filled(5)
    taken = backlog.take(3)
    assert [each.seq for each in taken] == [1, 2, 3]
    backlog.put_back(taken[1:])
    assert [each.seq for each in backlog.take(9)] == [2, 3, 4, 5]
    assert backlog.is_exhausted


def test_one_fetch_at_a_time_and_none_beyond_what_is_there() -> None:
    backlog = TaskQueue()
    assert backlog.next_fetch() is None
    backlog.on_run_resumed(10)
    request = backlog.next_fetch()
    assert request is not None
    assert (request.after, request.to) == (0, 10)
    assert backlog.next_fetch() is None
    assert not backlog.is_exhausted
    backlog.on_tasks_fetched([], 10, {0})
    assert backlog.is_exhausted


def test_large_inputs_are_fetched_a_few_at_a_time() -> None:
    backlog = TaskQueue()
    backlog.on_run_resumed(10_000_000)
    first = backlog.next_fetch()
    assert first is not None
    assert first.limit <= WINDOW_TASKS
    size, limit = 4 << 20, 0
    for last in range(1, 6):
        backlog.on_tasks_fetched([task(last, size)], last, {0})
        assert [each.seq for each in backlog.take(1)] == [last]
        request = backlog.next_fetch()
        assert request is not None
        limit = request.limit
    assert limit * size <= 4 * WINDOW_BYTES


def test_a_retry_waits_for_its_time() -> None:
    backlog = filled(1)
    (one,) = backlog.take(1)
    backlog.retry_at(one, 5.0)
    assert backlog.due == 5.0
    assert not backlog.is_exhausted
    backlog.release_due_retries(4.9)
    assert not backlog.take(1)
    backlog.release_due_retries(5.0)
    assert backlog.take(1) == [one]


def test_suspects_are_handed_out_alone() -> None:
    backlog = filled(3)
    some = backlog.take(2)
    backlog.add_suspects(some)
    assert [each.seq for each in backlog.take(5)] == [3]
    assert backlog.take_suspect() == some[0]
    assert not backlog.is_exhausted
    assert backlog.take_suspect() == some[1]
    assert backlog.take_suspect() is None
    assert backlog.is_exhausted


def test_tasks_of_an_agent_that_is_not_there_yet_wait_for_it() -> None:
    backlog = TaskQueue()
    backlog.on_run_resumed(1)
    backlog.next_fetch()
    backlog.on_tasks_fetched([task(1)], 1, set())
    assert not backlog.take(1)
    backlog.on_agent_loaded(0)
    assert [each.seq for each in backlog.take(1)] == [1]


def spooled(after: int, count: int, *, priority: int = 0, size: int = 1, kept: bool = True) -> TasksAdded:
    tasks = [NewTask(f"k{after + number}", b"x" * size, priority=priority) for number in range(1, count + 1)]
    return TasksAdded(after, after + count, tasks, stored=kept)


def test_new_tasks_are_taken_in_as_they_come_while_nothing_older_is_left_to_fetch() -> None:
    backlog = TaskQueue()
    backlog.on_tasks_added(spooled(0, 2), {0})
    assert backlog.next_fetch() is None
    backlog.on_run_resumed(3)
    backlog.on_tasks_added(spooled(3, 1), {0})
    request = backlog.next_fetch()
    assert request is not None
    assert (request.after, request.to) == (2, 4)
    backlog.on_tasks_fetched([task(3), task(4)], 4, {0})
    backlog.on_tasks_added(spooled(4, 1), {0})
    assert [each.seq for each in backlog.take(9)] == [1, 2, 3, 4, 5]
    assert backlog.is_exhausted


@pytest.mark.parametrize(("count", "size"), [(WINDOW_TASKS, 1), (17, 1 << 20)])
def test_what_there_is_no_room_for_waits_in_the_store_if_that_keeps_it(count: int, size: int) -> None:
    backlog = TaskQueue()
    backlog.on_tasks_added(spooled(0, count, size=size), {0})
    backlog.on_tasks_added(spooled(count, 1, size=size), {0})
    backlog.take(count)
    request = backlog.next_fetch()
    assert request is not None
    assert request.to == count + 1
    forgetful = TaskQueue()
    forgetful.on_tasks_added(spooled(0, count, size=size, kept=False), {0})
    forgetful.on_tasks_added(spooled(count, 1, size=size, kept=False), {0})
    assert len(forgetful) == count + 1
    assert forgetful.next_fetch() is None


def test_urgent_tasks_that_wait_in_the_store_are_fetched_first() -> None:
    backlog = TaskQueue()
    backlog.on_run_resumed(5)
    backlog.on_tasks_added(spooled(5, 1, priority=3), {0})
    request = backlog.next_fetch()
    assert request is not None
    assert request.urgent
    assert request.to == 6
    other = TaskQueue()
    other.on_tasks_added(spooled(0, 1), {0})
    other.on_tasks_added(spooled(1, 1, priority=3), {0})
    assert other.next_fetch() is None
    assert [each.seq for each in other.take(2)] == [2, 1]


def test_urgent_tasks_of_an_agent_that_is_not_there_yet_wait_for_it_too() -> None:
    backlog = TaskQueue()
    backlog.on_run_resumed(5)
    backlog.on_urgent_tasks_fetched([task(3, priority=1)], {1})
    assert not backlog.take(1)
    backlog.on_tasks_fetched([task(3, priority=1)], 5, {1})
    assert not backlog.take(1)
    backlog.on_agent_loaded(0)
    assert [each.seq for each in backlog.take(5)] == [3]


@given(st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 3)), max_size=12), st.integers(0, 50))
def test_spooled_and_fetched_in_any_order_each_comes_out_once_and_in_order(
    steps: list[tuple[int, int]], before: int
) -> None:
    """A store that keeps all of it; each step spools some, answers a fetch or not, takes some or not."""
    backlog, last, out = TaskQueue(), before, []
    backlog.on_run_resumed(before)
    request = None
    for count, what in [*steps, *[(0, 3)] * 40]:
        if count:
            backlog.on_tasks_added(spooled(last, count), {0})
            last += count
        request = request or backlog.next_fetch()
        if what & 1 and request is not None:
            read_to = min(request.after + request.limit, request.to)
            backlog.on_tasks_fetched([task(seq) for seq in range(request.after + 1, read_to + 1)], read_to, {0})
            request = None
        if what & 2:
            out += [each.seq for each in backlog.take(WINDOW_TASKS)]
    assert out == list(range(1, last + 1))
    assert backlog.is_exhausted


@given(st.lists(st.tuples(st.sampled_from("tpsrw"), st.integers(1, 5)), max_size=50), st.integers(0, 30))
def test_nothing_is_lost_and_nothing_is_doubled(steps: list[tuple[str, int]], count: int) -> None:
    """Whatever is taken, given back, suspected and retried in between: in the end each has come out."""
    backlog = filled(count) if count else TaskQueue()
    out: list[PendingTask] = []
    now = 0.0
    for step, number in steps:
        if step == "t":
            out += backlog.take(number)
        elif step == "w":
            now += number
            backlog.release_due_retries(now)
        elif out:
            some, out = out[-number:], out[:-number]
            if step == "p":
                backlog.put_back(some)
            elif step == "s":
                backlog.add_suspects(some)
            else:
                for each in some:
                    backlog.retry_at(each, now + number)
    backlog.release_due_retries(1000.0)
    while (suspect := backlog.take_suspect()) is not None:
        out.append(suspect)
    out += backlog.take(1000)
    assert sorted(each.seq for each in out) == list(range(1, count + 1))
    assert backlog.is_exhausted
