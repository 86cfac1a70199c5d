"""What the machine is told: everything that happens outside it, as records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.records import NewTask, PendingTask
from runtime.model import InterruptSignal
from runtime.wire import Up


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the executors."""


@dataclass(frozen=True, slots=True)
class HireAgent:
    """An agent that tasks may name from now on."""

    agent: int
    by_name: bool
    source: bytes


@dataclass(frozen=True, slots=True)
class Spooled:
    """The store has taken `tasks`: those with a seq have that one, the others the next after `after`, up to `last_seq`.

    `kept`: they can be fetched later. Otherwise this is the only time that they are seen.
    """

    after: int
    last_seq: int
    tasks: Sequence[NewTask]
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Resumed:
    """The run that is taken up: its last seq, and its tasks by how they stand."""

    last_seq: int
    accepted: int
    completed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to Fetch: tasks in order, and up to which seq the store was read.

    `urgent`: only the urgent ones were asked for.
    """

    tasks: Sequence[PendingTask]
    read_to: int
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Sealed:
    """No more tasks will come."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The guardian is ready; by what it holds on to processes, the best first."""

    pid: int
    containment: Sequence[str]


@dataclass(frozen=True, slots=True)
class Forked:
    """An executor process exists."""

    slot: int
    incarnation: int
    pid: int


@dataclass(frozen=True, slots=True)
class Heard:
    """Records of one executor, in order."""

    slot: int
    incarnation: int
    records: Sequence[Up]


@dataclass(frozen=True, slots=True)
class Garbled:
    """An executor sent what is not a frame; it must not be heard any more."""

    slot: int
    incarnation: int
    why: str


@dataclass(frozen=True, slots=True)
class Exited:
    """An executor is gone and all it had sent was heard. `code` is negative for a signal, None if unknown.

    `in_hand` is the task that shared memory says it was executing, 0 = none; `how` says the code in words.
    """

    slot: int
    incarnation: int
    pid: int
    code: int | None
    seconds: float
    max_rss: int
    in_hand: int
    how: str


@dataclass(frozen=True, slots=True)
class StraysFound:
    """An executor left processes behind, which are being ended."""

    slot: int
    incarnation: int
    found: Sequence[str]


@dataclass(frozen=True, slots=True)
class Grown:
    """An executor's tree holds more memory than it may: `rss` bytes."""

    slot: int
    incarnation: int
    rss: int


@dataclass(frozen=True, slots=True)
class Swept:
    """The last look: processes found after everything should have been gone."""

    found: int
    ended: int
    remaining: Sequence[str]


@dataclass(frozen=True, slots=True)
class Committed:
    """`asked` outcomes went to the journal; the other fields count the ones that it accepted, by status."""

    asked: int
    completed: int
    failed: int
    interrupted: int


@dataclass(frozen=True, slots=True)
class JournalFailed:
    """The journal cannot be written any more."""

    why: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The run cannot go on: what it needs from the host is not to be had."""

    why: str


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Somebody asks for a stop, of everything or of one task."""

    signal: InterruptSignal
    task: str | None = None


@dataclass(frozen=True, slots=True)
class Signalled:
    """An OS signal arrived. `user` is whether a person pressed a key (SIGINT)."""

    name: str
    user: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """What shared memory shows: for each slot the task in hand, since when, the last sign of life (monotonic)."""

    slots: Sequence[tuple[int, float, float]]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Stimulus = (
    Begin
    | HireAgent
    | Spooled
    | Resumed
    | Fetched
    | Sealed
    | Standing
    | Forked
    | Heard
    | Garbled
    | Exited
    | StraysFound
    | Grown
    | Swept
    | Committed
    | JournalFailed
    | Broken
    | Interrupt
    | Signalled
    | Progress
    | Tick
)
