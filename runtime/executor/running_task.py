"""A task between its beginning and its end, as the executor sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from runtime.errors import DecodeError, ExecutionInterrupted, ResultError, error_text
from runtime.execution.state import ExecutionState
from runtime.executor.threads import Seen
from runtime.ipc import codec
from runtime.ipc.executor_protocol import Task


@dataclass(slots=True)
class RunningTask:
    """A task between its beginning and its TaskDone.

    `finished`: the agent has returned or raised. `raised`: the TERM rung has raised in it. `term_deferred`: the rung
    came and did not raise, because its reason was not known yet, or because the task had finished. `term_resolved`: it
    is decided whether the task's end is its own or was cut short (`cut_short_by`); a rung that comes later, to its
    clean-up, changes nothing. `threads`: what other threads did when it began; `looks`: how often in a row no thread of
    its own was found since it ended.
    """

    order: Task
    state: ExecutionState
    started_at: float
    began: float
    unreadable: BaseException | None = None
    finished: bool = False
    raised: bool = False
    term_deferred: bool = False
    term_resolved: bool = False
    cut_short_by: ExecutionInterrupted | None = None
    threads: Seen = field(default_factory=dict)
    looks: int = 0

    def check(self) -> None:
        """Check the task before the agent runs. Raises ResultError for an unreadable snapshot, ExecutionInterrupted."""
        if isinstance(self.unreadable, DecodeError):
            error = self.unreadable
            raise DecodeError(error.type_name, error.reason, "the snapshot") from error
        if self.unreadable is not None:
            raise ResultError(f"the snapshot cannot be read: {error_text(self.unreadable)}") from self.unreadable
        self.state.raise_if_interrupted()

    def decode_input(self) -> Any:
        """Return the input that the agent gets; the state shows the same object. Raises DecodeError."""
        self.state.input = value = codec.decode(self.order.input, self.order.encoding)
        return value
