"""quiesce: the supervisor's side. `from orchestrator import Supervisor`."""

from orchestrator.config import MaxFailures, Settings
from orchestrator.handle import Handle, TaskFailed
from orchestrator.records import Outcome, RunEvent
from orchestrator.session import Ending
from orchestrator.supervisor import Supervisor
from runtime.errors import ExecutionInterrupted, QuiesceError, UsageError

__all__ = [
    "Ending",
    "ExecutionInterrupted",
    "Handle",
    "MaxFailures",
    "Outcome",
    "QuiesceError",
    "RunEvent",
    "Settings",
    "Supervisor",
    "TaskFailed",
    "UsageError",
]
