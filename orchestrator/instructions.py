"""What the machine asks to be done: every effect, as a record. The engine performs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.records import Outcome
from runtime.model import InterruptSignal, Severity
from runtime.wire import Control, Down


@dataclass(frozen=True, slots=True)
class StartExecutor:
    """Fork an incarnation into a slot."""

    slot: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class Send:
    """An order on a slot's tasks pipe."""

    slot: int
    order: Down


@dataclass(frozen=True, slots=True)
class SendControl:
    """An order on a slot's control pipe."""

    slot: int
    order: Control


@dataclass(frozen=True, slots=True)
class RaiseFlag:
    """Write the signal, raise every slot's byte, wake whoever sleeps."""

    signal: InterruptSignal


@dataclass(frozen=True, slots=True)
class ShowRung:
    """Tell the executors when the next rung comes (monotonic seconds)."""

    at: float | None


@dataclass(frozen=True, slots=True)
class Terminate:
    """SIGTERM and SIGCONT to an executor."""

    slot: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class KillTree:
    """SIGKILL to an executor and all its descendants."""

    slot: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read pending tasks from the store; only the ones with a priority above 0, if `urgent`."""

    after: int
    to: int
    limit: int
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """Commit outcomes; answered by Committed."""

    outcomes: Sequence[Outcome]


@dataclass(frozen=True, slots=True)
class RecordAttempts:
    """Keep how many attempts a task that will run again has used up."""

    attempts: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class AgentKnown:
    """An agent was loaded (error None) or refused, for the first time."""

    agent: int
    name: str
    error: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SweepProcesses:
    """Look for whatever process is left, end it, report Swept."""


@dataclass(frozen=True, slots=True)
class LoseGuardian:
    """The guardian does not answer: kill it and all that it watched, look yourself, report Swept."""


@dataclass(frozen=True, slots=True)
class Log:
    """A named log event; `event` ones are also written into the journal's events."""

    name: str
    severity: Severity = Severity.INFO
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left to do."""


Instruction = (
    StartExecutor
    | Send
    | SendControl
    | RaiseFlag
    | ShowRung
    | Terminate
    | KillTree
    | Fetch
    | Record
    | RecordAttempts
    | AgentKnown
    | SweepProcesses
    | LoseGuardian
    | Log
    | Finish
)
