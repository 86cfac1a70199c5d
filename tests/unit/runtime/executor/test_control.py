"""The executor's control thread, and orders for tasks that have not arrived yet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import pytest

from runtime.executor.control import ControlThread
from runtime.executor.inbox import Inbox
from runtime.executor.outbox import Outbox
from runtime.ipc.executor_protocol import Interrupt, Task, TaskDone, Tasks, UpFrame
from runtime.ipc.flag import InterruptFlag
from runtime.ipc.frames import FrameReader, pack
from runtime.model import InterruptReason, InterruptSignal

SIGNAL = InterruptSignal(reason=InterruptReason.CUSTOM, message="no more").model_dump_json().encode()


class Runner:
    """Stands for the TaskRunner."""

    def __init__(self) -> None:
        self.interrupted: list[Task] = []

    def interrupt(self, order: Task, signal: InterruptSignal) -> None:
        self.interrupted.append(order)


class Place:
    """An executor without a main thread."""

    def __init__(self) -> None:
        self.tasks_read, self.tasks = os.pipe()
        self.events, events_write = os.pipe()
        self.flag = InterruptFlag(1)
        self.inbox = Inbox(self.tasks_read)
        self.outbox = Outbox(events_write)
        self.runner = Runner()
        self.control = ControlThread(
            -1, 0, self.flag, self.inbox, self.outbox, cast("Any", self.runner), lambda: None, lambda: None
        )
        self._fds = [self.tasks_read, self.tasks, self.events, events_write]

    def said(self) -> list[Any]:
        os.set_blocking(self.events, False)
        try:
            data = os.read(self.events, 1 << 16)
        except BlockingIOError:
            return []
        return [record for frame in FrameReader[UpFrame](UpFrame).feed(data) for record in frame.records]

    def close(self) -> None:
        self.flag.close()
        for fd in (*self._fds, self.outbox._bell_read, self.outbox._bell_write):
            os.close(fd)


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.close()


def task(attempt: int = 1) -> Task:
    return Task(7, "k7", 0, attempt, b"1", "json")


def test_one_that_waits_never_begins(place: Place) -> None:
    os.write(place.tasks, pack(Tasks([task()])))
    place.control._execute(Interrupt(7, 1, SIGNAL))
    (done,) = place.said()
    assert isinstance(done, TaskDone)
    assert (done.task, done.status) == (7, "interrupted")
    assert place.inbox.take() is None


def test_one_that_is_in_hand_is_interrupted(place: Place) -> None:
    os.write(place.tasks, pack(Tasks([task()])))
    place.inbox.fill()
    taken = place.inbox.take()
    place.control._execute(Interrupt(7, 1, SIGNAL))
    assert place.runner.interrupted == [taken]
    place.inbox.finish(7)
    place.control._execute(Interrupt(7, 1, SIGNAL))
    assert place.runner.interrupted == [taken]


def test_an_interrupt_that_overtakes_its_task_waits_for_it(place: Place) -> None:
    """A task that is larger than a pipe comes in parts, and the control pipe is another one."""
    place.control._execute(Interrupt(7, 1, SIGNAL))
    place.control._retry_pending_interrupts()
    assert place.said() == []
    os.write(place.tasks, pack(Tasks([task()])))
    place.control._retry_pending_interrupts()
    (done,) = place.said()
    assert done.status == "interrupted"
    place.control._retry_pending_interrupts()
    assert place.said() == []


def test_one_that_came_too_late_for_an_attempt_is_not_for_the_next(place: Place) -> None:
    place.control._execute(Interrupt(7, 1, SIGNAL))
    os.write(place.tasks, pack(Tasks([task(attempt=2)])))
    place.control._retry_pending_interrupts()
    assert place.said() == []
    assert place.inbox.take() == task(attempt=2)
