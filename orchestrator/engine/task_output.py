"""Take the output of executors, find out whose task it is, pass it on, and keep it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from orchestrator.backends import Backend
from orchestrator.core.output import AgentOutput, KeptLine, OutputLine
from orchestrator.core.state import SupervisorState
from orchestrator.engine.output_tails import OutputTails
from orchestrator.logging.output_sinks import OutputSink
from orchestrator.logging.output_stream import Lost
from runtime.ipc.executor_protocol import ExecutorRecord, TaskDone, TaskEvent
from runtime.statuses import Severity

REMEMBERED: Final = 10_000
"""Keys of tasks that have ended, whose output may still come."""

LogWithEvent = Callable[[str, Severity, Mapping[str, Any]], None]
"""Log an event that the journal keeps, too."""


class _LogData(msgspec.Struct):
    """The data of an event of kind `log`, as `ExecutionState.log` makes it."""

    message: str
    severity: Severity = Severity.INFO
    metadata: msgspec.Raw = msgspec.Raw(b"{}")


_decode_log = msgspec.json.Decoder(_LogData).decode


class TaskOutput:
    """Take output. Belongs to the loop; an OutputListener. `note` logs what the journal keeps, too."""

    def __init__(
        self,
        backend: Backend,
        state: SupervisorState,
        sinks: Sequence[OutputSink],
        note: LogWithEvent,
        tails: OutputTails,
    ) -> None:
        self._backend = backend
        self._state = state
        self._sinks = sinks
        self._note = note
        self._tails = tails
        self._ended: OrderedDict[int, str] = OrderedDict()

    # -- whose it is --------------------------------------------------------------------------------

    def owner(self, slot: int) -> int | None:
        """Return the task that a slot executes, 0 if there is none, None if there are several."""
        task = self._backend.progress(slot).task
        if task and self._key(slot, task) is not None:
            return task
        begun = [seq for seq, one in self._state.slots[slot].assigned.items() if one.started_at is not None]
        return None if len(begun) > 1 else next(iter(begun), 0)

    def note_ends(self, slot: int, records: Sequence[ExecutorRecord]) -> None:
        """Note the tasks that end by these records: the last lines of them may come later."""
        assigned = self._state.slots[slot].assigned
        for record in records:
            if isinstance(record, TaskDone) and record.task in assigned:
                self._remember(record.task, assigned[record.task].task.key)
                self._tails.end(record.task)

    def remember_tasks(self, slot: int) -> None:
        """Note the tasks of an executor that is gone."""
        for seq, assignment in self._state.slots[slot].assigned.items():
            self._remember(seq, assignment.task.key)

    def _remember(self, task: int, key: str) -> None:
        self._ended[task] = key
        self._ended.move_to_end(task)
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    def _key(self, slot: int, task: int) -> str | None:
        """Return the key of a task that the slot has, or of one that has ended. None: it is not known."""
        assignment = self._state.slots[slot].assigned.get(task)
        return self._ended.get(task) if assignment is None else assignment.task.key

    # -- what it is ---------------------------------------------------------------------------------

    def take_line(self, slot: int, stream: str, line: OutputLine) -> None:
        """Pass a line of output on, and keep it for the journal."""
        if self._key(slot, line.task) is None:  # an agent may write any number to its shared memory, or into its output
            line = replace(line, task=0)
        kept = KeptLine(time.time(), stream, line.text, line.severity, line.logger)
        assignment = self._state.slots[slot].assigned.get(line.task)
        self._tails.add(line.task, slot, kept, is_again=assignment is None or assignment.attempt > 1)
        key = self._key(slot, line.task)
        output = AgentOutput(
            key=key, text=line.text, stream=stream, severity=line.severity, logger=line.logger, at=kept.at, slot=slot,
            task=line.task,
        )  # fmt: skip
        for sink in self._sinks:
            sink(output)

    def take_loss(self, slot: int, stream: str, lost: Lost) -> None:
        """Report what of an executor's output was read and not logged."""
        fields = {"slot": slot, "stream": stream, "lines": lost.lines, "bytes": lost.bytes}
        self._note("executor.output_lost", Severity.WARNING, fields)

    def take_log(self, slot: int, event: TaskEvent) -> None:
        """Log what a task said by `state.log`."""
        try:
            said = _decode_log(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError):  # an event of the agent's own that has this name
            return
        details = bytes(said.metadata)
        text = said.message if details == b"{}" else f"{said.message} {details.decode('utf-8', 'backslashreplace')}"
        self.take_line(slot, "log", OutputLine(event.task, text, said.severity, "quiesce.agent"))
