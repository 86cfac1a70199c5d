"""Events that a stop drops are no load for the disk."""

from __future__ import annotations

import os
import time

import pytest

from orchestrator.backends import Channels
from orchestrator.backends.local import LocalBackend
from orchestrator.config import Settings
from orchestrator.engine.hub import Hub
from orchestrator.engine.loop import Engine
from orchestrator.engine.memory_store import MemoryStore
from orchestrator.engine.multiplexer import RECORD_WEIGHT
from orchestrator.engine.task_store import WriteBatch
from runtime.ipc import executor_protocol, frames
from runtime.model import Severity

COUNT, SIZE = 20, 1000


class Weights(MemoryStore):
    """A store that notes what the batches weigh."""

    def __init__(self) -> None:
        super().__init__(Hub(), lambda _: None)
        self.weights: list[int] = []

    def commit(self, batch: WriteBatch) -> None:
        self.weights.append(batch.weight)


@pytest.mark.parametrize("dropped", [False, True])
def test_what_is_dropped_is_not_in_the_weight_of_what_is_kept(dropped: bool) -> None:
    backend = LocalBackend("r", Settings.from_options(workers=1))
    engine = Engine(Settings.from_options(workers=1), backend, lambda *_: None, lambda _: None)
    store = Weights()
    engine._effects.store = store
    (tasks_r, tasks), (control_r, control), (events, events_w), (out, out_w), (err, err_w) = (
        os.pipe() for _ in range(5)
    )
    for fd in (events, out, err):
        os.set_blocking(fd, False)
    engine._mux.open(0, 1, Channels(tasks, control, events, out, err))
    engine._writes.is_dropping_events = dropped
    emitted = executor_protocol.TaskEvent(1, "said", "", time.time(), b'"' + b"x" * SIZE + b'"')
    os.write(events_w, frames.pack(executor_protocol.UpFrame(1, [emitted] * COUNT)))
    engine._mux._on_events(engine._mux._pipes[0])
    engine._writes.log("run.suspended", Severity.INFO, {})
    engine._flush()
    (weight,) = store.weights
    assert (weight > COUNT * (RECORD_WEIGHT + SIZE)) is not dropped
    assert (weight < COUNT * RECORD_WEIGHT) is dropped
    engine._mux.close()
    engine.close()
    backend.close()
    for fd in (tasks_r, control_r, events_w, out_w, err_w):
        os.close(fd)
