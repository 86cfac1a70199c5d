"""The outcome of a task as callers get it: it decodes the value, which can execute code, in their own process."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from orchestrator.core.records import TaskOutcome
from orchestrator.remote_exceptions import exception_of
from runtime.errors import DecodeError, QuiesceError
from runtime.ipc.codec import decode
from runtime.model import ExecutionStatus

R_co = TypeVar("R_co", covariant=True)
"""What the agent returns."""


class Outcome(TaskOutcome, Generic[R_co], frozen=True, kw_only=True):
    """How a task ended, for now (interrupted) or for good. Times are Unix seconds.

    `index` is the input's place in what `map` was given, from 0 (0 for `submit`), `input` that very input. `error` is
    one line, `detail` the traceback or more; `slot` and `incarnation` say who executed it. `projection` is the JSON
    that readers are shown of a value that is not JSON.
    """

    index: int = 0
    input: Any = None

    @classmethod
    def from_record(cls, record: TaskOutcome, index: int = 0, task_input: Any = None) -> Outcome[Any]:
        """Make what a caller gets of the supervisor's record."""
        fields = {name: getattr(record, name) for name in TaskOutcome.__struct_fields__}
        return cls(**fields, index=index, input=task_input)

    def __repr__(self) -> str:
        error = "" if self.error is None else f" {self.error!r}"
        return f"<Outcome key={self.key!r} index={self.index} {self.status}{error}>"

    @property
    def value(self) -> R_co:
        """Exactly what the agent returned, decoded now, in the caller's process.

        Of a failed task this raises the agent's own exception, with the remote traceback as its cause, or TaskFailed
        where that cannot be rebuilt. Raises QuiesceError if the task was interrupted, DecodeError if the value cannot
        be read here.
        """
        if self.status is ExecutionStatus.FAILED:
            raise exception_of(self)
        if self.encoded is None or not self.ok:
            raise QuiesceError(f"task {self.key} has no value: it is {self.status} ({self.error or 'no error'})")
        try:
            value: R_co = decode(self.encoded, self.encoding)
        except DecodeError as error:
            whose = f"task {self.key} completed, but its value"
            raise DecodeError(error.type_name, error.reason, whose) from error
        return value
