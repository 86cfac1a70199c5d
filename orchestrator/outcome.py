"""The outcome of a task as callers get it: it decodes the value, which can execute code, in their own process."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.core.records import TaskOutcome
from runtime.errors import DecodeError, QuiesceError
from runtime.ipc.codec import decode


class Outcome(TaskOutcome, frozen=True, kw_only=True):
    """How a task ended, for now (interrupted) or for good. Times are Unix seconds.

    `error` is one line, `detail` the traceback or more; `slot` and `incarnation` say who executed it. `projection` is
    the JSON that readers are shown of a value that is not JSON.
    """

    @classmethod
    def from_record(cls, record: TaskOutcome) -> Outcome:
        """Make what a caller gets of the supervisor's record."""
        return cls(**msgspec.structs.asdict(record))

    @property
    def value(self) -> Any:
        """Exactly what the agent returned, decoded now, in the caller's process.

        Raises QuiesceError if there is none, DecodeError if it cannot be read here.
        """
        if self.encoded is None or not self.ok:
            raise QuiesceError(f"task {self.key} has no value: it is {self.status} ({self.error or 'no error'})")
        try:
            return decode(self.encoded, self.encoding)
        except DecodeError as error:
            whose = f"task {self.key} completed, but its value"
            raise DecodeError(error.type_name, error.reason, whose) from error
