"""What a task reports of its progress, into shared memory each time and now and then as an event; and its events."""

from __future__ import annotations

import datetime as dt
import fcntl
import math
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.errors import ResultError
from runtime.execution.state import ExecutionState
from runtime.executor.outbox import Outbox
from runtime.executor.task_link import ExecutorResources, TaskLink
from runtime.ipc.executor_protocol import TaskEvent, UpFrame
from runtime.ipc.flag import InterruptFlag
from runtime.ipc.frames import FrameReader
from runtime.ipc.undo_tickets import UndoTickets
from runtime.model import Event


class Executor:
    """An executor's flag and pipe, and the state of one task."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.flag = InterruptFlag(1)
        self.outbox = Outbox(self._writer)
        cell = ExecutorResources("run", 0, self.flag, False, -1, self.outbox, UndoTickets())
        self.state = ExecutionState(state_id="run:k", host=TaskLink(cell, 3, 1, None))

    def sent(self) -> bytes:
        """What has come through the pipe since the last call."""
        try:
            return os.read(self.reader, 1 << 20)
        except BlockingIOError:
            return b""

    def events(self) -> list[TaskEvent]:
        """The events that have come since the last call."""
        frames = FrameReader[UpFrame](UpFrame).feed(self.sent())
        return [record for frame in frames for record in frame.records if isinstance(record, TaskEvent)]

    def fill_pipe(self) -> None:
        fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, 4096)
        os.write(self._writer, b"x" * 4096)

    def close(self) -> None:
        self.outbox.close()
        os.close(self.reader)
        os.close(self.outbox.fileno())
        os.close(self.outbox._bell_write)
        self.flag.close()


@pytest.fixture
def executor() -> Iterator[Executor]:
    made = Executor()
    yield made
    made.close()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of the events."""
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    return clock


def test_every_report_is_in_shared_memory_and_few_are_events(executor: Executor, now: list[float]) -> None:
    executor.state.progress(1, 1000)
    assert b'"done":1,' in executor.sent()
    for done in range(2, 500):
        executor.state.progress(done, 1000)
    assert executor.flag.reported_progress(0, 3, 1) == (499, 1000)
    assert executor.sent() == b""
    now[0] += 1
    executor.state.progress(500, 1000)
    assert b'"done":500,' in executor.sent()


def test_the_last_report_is_an_event_at_once_and_once(executor: Executor, now: list[float]) -> None:
    executor.state.progress(9, 10)
    executor.sent()
    executor.state.progress(10, 10)
    assert b'"done":10,' in executor.sent()
    executor.state.progress(10, 10)
    assert executor.sent() == b""


@pytest.mark.skipif(sys.platform != "linux", reason="the size of a pipe can be set on Linux")
def test_a_full_pipe_holds_nobody_up(executor: Executor) -> None:
    executor.fill_pipe()
    executor.state.progress(1, 2)
    assert executor.flag.reported_progress(0, 3, 1) == (1, 2)


def test_what_is_no_number_is_an_event_only(executor: Executor) -> None:
    executor.state.progress("most", "all")  # type: ignore[arg-type]
    assert b'"most"' in executor.sent()


PLAIN: list[dict[str, Any]] = [
    {},
    {"text": "é", "number": 1, "ratio": 0.5, "flag": True, "nothing": None},
    {"call": {"arguments": [1, {"deep": ["x"]}]}, "path": ["plan", "act"]},
]
OTHER: list[dict[str, Any]] = [
    {"when": dt.datetime(2026, 11, 27, tzinfo=dt.UTC)},
    {"pair": (1, 2), "set": {3}, "bytes": b"x"},
    {"by number": {1: "one"}},
    {"ratio": math.inf},
    {"object": object},
]


@pytest.mark.parametrize("data", PLAIN + OTHER)
def test_plain_data_is_sent_as_a_frozen_copy_of_it_would_be(executor: Executor, data: dict[str, Any]) -> None:
    executor.state.emit("kind", **data)
    (sent,) = executor.events()
    executor.state.host.emit(Event(kind="kind", data=data, at=sent.at))
    assert executor.events() == [sent]
    assert executor.state.host.emit_plain("kind", data, "") is (data in PLAIN)


def test_an_event_of_text_that_is_no_unicode_is_refused_and_breaks_nothing(executor: Executor) -> None:
    with pytest.raises(ResultError):
        executor.state.emit("kind", text="\ud800")
    executor.state.emit("kind", text="a")
    assert [event.data for event in executor.events()] == [b'{"text":"a"}']


def test_what_is_in_an_event_is_what_it_was_when_it_was_emitted(executor: Executor) -> None:
    path = ["plan"]
    executor.state.emit("kind", path=path)
    path.append("act")
    assert [event.data for event in executor.events()] == [b'{"path":["plan"]}']
