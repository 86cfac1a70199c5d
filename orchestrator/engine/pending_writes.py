"""Collect what a turn of the loop is to make durable, and hand it to the store as one batch."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from orchestrator.core import instructions
from orchestrator.core.line_limit import LineLimit
from orchestrator.core.records import RunEvent, TaskSnapshot
from orchestrator.core.undo_records import UndoRecord, UndoUpdate
from orchestrator.descriptions import event_from_outcome
from orchestrator.engine.multiplexer import RECORD_WEIGHT, PipeMultiplexer
from orchestrator.engine.output_tails import COMMIT_SECONDS, OutputTails
from orchestrator.engine.task_store import TaskStore, WriteBatch
from orchestrator.logging.sinks import LogCallback
from runtime.ipc import codec, executor_protocol
from runtime.statuses import Severity

MANY: Final = frozenset({"task.retrying", "task.postponed", "task.crashed", "task.out_of_memory"})
"""Events that may come for each of many tasks: an endpoint that is down fails them all."""


class PendingWrites:
    """Collect a turn's outcomes, events, snapshots and attempts. Belongs to the loop."""

    def __init__(self, log: LogCallback, tails: OutputTails) -> None:
        self._log = log
        self.tails = tails
        self._output_due = 0.0
        self.on_task_log: Callable[[int, executor_protocol.TaskEvent], None] = lambda _slot, _event: None
        """Takes what tasks say by `state.log`, and their slot."""
        self._limits = {name: LineLimit() for name in MANY}
        self._batch = WriteBatch()
        self._lost_events: Counter[int] = Counter()
        self._dropped_weight = 0
        self.is_dropping_events = False
        """Whether what tasks emit is counted, not kept."""

    def log(self, name: str, severity: Severity, fields: Mapping[str, Any], detail: str | None = None) -> None:
        """Write one named event to the log and into the journal, which has the detail, too.

        Of what may come for each of many tasks, the log has some lines, with the number of the others as `more`.
        """
        kept = dict(fields) if detail is None else {**fields, "detail": detail}
        data = codec.encode_json(kept)  # first: a program's own log may change what it is given
        limit = self._limits.get(name)
        left_out = 0 if limit is None else limit.admit(time.monotonic())
        if left_out is not None:
            self._log(name, severity, {**fields, "more": left_out} if left_out else fields)
        slot, incarnation = fields.get("slot"), fields.get("incarnation")
        self._batch.events.append(RunEvent(kind=name, at=time.time(), data=data, slot=slot, incarnation=incarnation))

    def add_outcomes(self, order: instructions.CommitOutcomes) -> None:
        """Add outcomes together with the events that report them."""
        self._batch.outcomes.extend(order.outcomes)
        self._batch.events.extend(map(event_from_outcome, order.outcomes))

    def add_attempts(self, order: instructions.CommitAttempts) -> None:
        """Add the attempts that tasks have used up."""
        self._batch.attempts.update(order.attempts)

    def add_undo(self, order: instructions.CommitUndo) -> None:
        """Add an undo record."""
        record = UndoRecord(
            number=order.number, task=order.task, attempt=order.attempt, command=order.command,
            host=os.uname().nodename, at=time.time(),
        )  # fmt: skip
        self._batch.undo.append(record)

    def add_undo_update(self, order: instructions.UpdateUndo) -> None:
        """Add a change of an undo record."""
        update = UndoUpdate(order.number, order.state, order.tries, time.time(), order.error)
        self._batch.undo_updates.append(update)

    def add_records(
        self, slot: int, incarnation: int, records: Sequence[executor_protocol.ExecutorRecord]
    ) -> list[executor_protocol.ExecutorRecord]:
        """Add events and snapshots. Return the records that decide something."""
        batch = self._batch
        decisive: list[executor_protocol.ExecutorRecord] = []
        for record in records:
            if isinstance(record, executor_protocol.TaskEvent):
                if self.is_dropping_events:  # it is no load for the disk
                    self._lost_events[slot] += 1
                    self._dropped_weight += RECORD_WEIGHT + len(record.data)
                    continue
                if record.kind == "log":
                    self.on_task_log(slot, record)
                batch.events.append(
                    RunEvent(
                        kind=record.kind, at=record.at, data=record.data, address=record.address, task=record.task,
                        slot=slot, incarnation=incarnation,
                    )
                )  # fmt: skip
                continue
            if isinstance(record, executor_protocol.Snapshot):
                batch.snapshots[record.task] = TaskSnapshot(
                    record.task, record.data, record.encoding, record.projection
                )
            decisive.append(record)
        return decisive

    def log_lost_events(self) -> None:
        """Report what was dropped."""
        for slot, count in sorted(self._lost_events.items()):
            self.log("executor.events_lost", Severity.WARNING, {"slot": slot, "events": count})

    def end_output(self) -> None:
        """Have the next `flush` hand over all output that was taken: none comes any more."""
        self._output_due = 0.0

    def flush(self, store: TaskStore | None, mux: PipeMultiplexer) -> None:
        """Hand what was collected to the store, as one batch; its weight is what `mux` has read for it."""
        if not self._batch and not self.tails.has_any:
            return
        now = time.monotonic()
        output = self.tails.take(everything=now >= self._output_due)
        batch, self._batch = self._batch, WriteBatch()
        batch.output = output
        if output:
            self._output_due = now + COMMIT_SECONDS
        if batch and store is not None:
            batch.weight = max(0, mux.take_byte_count() - self._dropped_weight) + sum(chunk.size for chunk in output)
            self._dropped_weight = 0
            store.commit(batch)
