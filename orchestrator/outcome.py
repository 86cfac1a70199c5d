"""The outcome of a task as callers get it: it decodes the value, which can execute code, in their own process."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from orchestrator.core.records import PendingTask, TaskOutcome
from orchestrator.remote_exceptions import exception_of
from runtime.errors import DecodeError, QuiesceError
from runtime.ipc.codec import decode, decode_json
from runtime.plain_signal import with_public_signal
from runtime.statuses import ExecutionStatus

R_co = TypeVar("R_co", covariant=True)
"""What the agent returns."""


@with_public_signal
class Outcome(TaskOutcome, Generic[R_co], frozen=True, kw_only=True):
    """How a task ended, for now (interrupted) or for good. Times are Unix seconds.

    `index` is the input's place in what `map` was given, from 0 (0 for `submit`; out of a journal, its place in the
    input of the run). `error` is one line, `detail` the traceback or more; `slot` and `incarnation` say who executed
    it. `projection` is the JSON that readers are shown of a value that is not JSON.
    """

    index: int = 0
    given_input: Any = None
    encoded_input: tuple[bytes, str] | None = None

    @classmethod
    def from_record(
        cls,
        record: TaskOutcome,
        index: int = 0,
        task_input: Any = None,
        *,
        encoded_input: tuple[bytes, str] | None = None,
    ) -> Outcome[Any]:
        """Make what a caller gets of the supervisor's record."""
        fields = msgspec.structs.asdict(record)  # the quickest way; of an Outcome it has the other three, too
        fields.update(index=index, given_input=task_input, encoded_input=encoded_input)
        return cls(**fields)

    @property
    def input(self) -> Any:
        """The input of the task: the very one that was handed in, or, out of a journal, decoded now.

        Raises DecodeError if it cannot be read here.
        """
        return self.given_input if self.encoded_input is None else _decode_input(self.key, *self.encoded_input)

    @property
    def projected(self) -> Any:
        """The value as JSON has it: exactly if `exact`, else projected (docs/values.md). Executes nothing.

        None if there is no value, or if it cannot be shown.
        """
        if self.encoded is None:
            return None
        try:
            if self.exact:
                return decode_json(self.encoded)
            return None if self.projection is None else decode_json(self.projection)["value"]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
            return None

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


class RunTask:
    """Show one task of a run as its journal has it: `key`, and `outcome` if it has one."""

    __slots__ = ("_task", "key", "outcome")

    def __init__(self, task: PendingTask, outcome: Outcome[Any] | None) -> None:
        self._task = task
        self.key = task.key
        self.outcome = outcome

    def __repr__(self) -> str:
        return f"<RunTask key={self.key!r} index={self.index} {self.status}>"

    @property
    def index(self) -> int:
        """Its place in the input of the run, from 0: of a file, the line."""
        return self._task.seq - 1

    @property
    def status(self) -> ExecutionStatus:
        """How it stands: completed, failed or interrupted; awaiting if it has no outcome: it runs, or has not begun."""
        return ExecutionStatus.AWAITING if self.outcome is None else self.outcome.status

    @property
    def attempts(self) -> int:
        """The number of attempts that it has used up."""
        return self._task.attempts if self.outcome is None else self.outcome.attempts

    @property
    def priority(self) -> int:
        """Its priority: those of a higher one begin before others."""
        return self._task.priority

    @property
    def input(self) -> Any:
        """Its input, decoded now. Raises DecodeError if it cannot be read here."""
        return _decode_input(self.key, self._task.input, self._task.encoding)


def _decode_input(key: str, data: bytes, encoding: str) -> Any:
    try:
        return decode(data, encoding)
    except DecodeError as error:
        raise DecodeError(error.type_name, error.reason, f"the input of task {key}") from error
