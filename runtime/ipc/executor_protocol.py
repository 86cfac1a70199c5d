"""The records between the supervisor and an executor. Pure.

Every record is a typed, tagged array; decoding one checks its types and executes nothing. Values inside (inputs,
results, snapshots, event data) stay encoded bytes, which the supervisor passes on unopened.

Three channels, each one way, in the frames of frames.py:

    tasks    supervisor -> executor   LoadAgent, Drop, Tasks, FinishAndExit  read by the executor's main thread
    control  supervisor -> executor   Interrupt, ReturnTasks, UndoHeld   read by a thread; EOF = the supervisor is gone
    events   executor -> supervisor   frames of `UpFrame`, numbered from 1 for each incarnation
"""

from __future__ import annotations

import msgspec

from runtime.failure import Failure
from runtime.ipc.undo import UndoCommand

BROKEN = 70
"""Exit code (EX_SOFTWARE, sysexits.h) of an executor that cannot go on: something happened to its pipes."""


class _Record(msgspec.Struct, frozen=True, array_like=True):
    """Base of every record on the wire."""


# -- down: tasks -----------------------------------------------------------------------------------------


class LoadAgent(_Record, frozen=True, tag=1):
    """An agent that tasks may name from now on.

    `by_name`: `source` is MODULE:NAME or FILE.py:NAME and, behind a NUL, a JSON object of its arguments, if there are
    any. Else it is a blob.
    """

    agent: int
    by_name: bool
    source: bytes


class Task(_Record, frozen=True):
    """One task for an executor. `attempt` counts from 1; `timeout` in seconds."""

    task: int
    key: str
    agent: int
    attempt: int
    input: bytes
    encoding: str
    snapshot: bytes | None = None
    snapshot_encoding: str = ""
    timeout: float | None = None


class Tasks(_Record, frozen=True, tag=2):
    """Tasks to execute, in order."""

    tasks: list[Task]


class Drop(_Record, frozen=True, tag=4):
    """Forget an agent: no task that follows is for it, unless another LoadAgent of it comes before."""

    agent: int


class FinishAndExit(_Record, frozen=True, tag=3):
    """Finish the tasks received so far, report Leaving and exit."""


# -- down: control ---------------------------------------------------------------------------------------


class Interrupt(_Record, frozen=True, tag=11):
    """Interrupt one attempt of a task; `signal` is an InterruptSignal as JSON."""

    task: int
    attempt: int
    signal: bytes


class UndoHeld(_Record, frozen=True, tag=13):
    """The undo record `number` of a task is kept: the resource may be made now."""

    task: int
    number: int


class ReturnTasks(_Record, frozen=True, tag=12):
    """Give back up to `count` tasks that have not begun, the last ones first."""

    count: int


# -- up ----------------------------------------------------------------------------------------------------


class Ready(_Record, frozen=True, tag=21):
    """The handlers are installed and the flag is mapped: the executor accepts work."""

    version: int
    pid: int


class AgentLoaded(_Record, frozen=True, tag=22):
    """An agent is loaded. `options` is AgentOptions as JSON."""

    agent: int
    name: str
    asynchronous: bool
    options: bytes


class AgentLoadFailed(_Record, frozen=True, tag=23):
    """An agent cannot be loaded; `message` is one line for the user."""

    agent: int
    message: str
    detail: str


class Started(_Record, frozen=True, tag=24):
    """An async executor began a task; a sync one writes that into shared memory instead."""

    task: int


class TaskDone(_Record, frozen=True, tag=25):
    """A task ended. `status` is completed, failed or interrupted; times are Unix and monotonic seconds.

    `projection` is the JSON that readers are shown of a `value` that is not JSON. `failure` describes what the agent
    raised.
    """

    task: int
    status: str
    value: bytes | None
    encoding: str
    error: str | None
    detail: str | None
    started_at: float
    seconds: float
    signal: bytes | None = None
    projection: bytes | None = None
    failure: Failure | None = None


class Snapshot(_Record, frozen=True, tag=26):
    """A task's own saved progress. `projection` as in TaskDone."""

    task: int
    data: bytes
    encoding: str
    projection: bytes | None = None


class TaskEvent(_Record, frozen=True, tag=27):
    """An event of a task (0 = of the executor itself). `data` is a JSON object."""

    task: int
    kind: str
    address: str
    at: float
    data: bytes


class TasksReturned(_Record, frozen=True, tag=28):
    """Tasks given back unbegun: revoked, or left over when the flag went up or the executor retired."""

    tasks: list[int]


class Leaving(_Record, frozen=True, tag=29):
    """No more work is taken; the executor exits by itself. At most a Delayed follows."""


class ThreadsLeft(_Record, frozen=True, tag=30):
    """A task whose TaskDone follows ends interrupted or failed, and threads of it still run: its end is not yet over.

    `stack` is their Python stacks as text. ThreadsEnded follows, unless the executor exits before.
    """

    task: int
    threads: list[str]
    stack: str


class ThreadsEnded(_Record, frozen=True, tag=31):
    """Nothing of a task runs any more."""

    task: int


class LoopBlocked(_Record, frozen=True, tag=32):
    """The event loop does not turn, because one step takes long: `task` is whose step it is, 0 if unknown.

    Times are monotonic seconds; `until` is None while it lasts.
    """

    task: int
    since: float
    until: float | None = None


class Delayed(_Record, frozen=True, tag=33):
    """The executor would exit, and waits for these threads, as every Python program does."""

    threads: list[str]
    stack: str


class UndoDeferred(_Record, frozen=True, tag=34):
    """A task is about to make an external resource, and waits for UndoHeld. `number` is the executor's own."""

    task: int
    number: int
    command: UndoCommand


class UndoReleased(_Record, frozen=True, tag=35):
    """A task has no use for a resource any more: it is to be undone now; or it stays on purpose (`kept`)."""

    task: int
    number: int
    kept: bool = False


TaskOrder = LoadAgent | Drop | Tasks | FinishAndExit
Control = Interrupt | ReturnTasks | UndoHeld
ExecutorRecord = (
    Ready
    | AgentLoaded
    | AgentLoadFailed
    | Started
    | TaskDone
    | Snapshot
    | TaskEvent
    | TasksReturned
    | Leaving
    | ThreadsLeft
    | ThreadsEnded
    | LoopBlocked
    | Delayed
    | UndoDeferred
    | UndoReleased
)


class UpFrame(_Record, frozen=True):
    """What one write of an executor carries."""

    seq: int
    records: list[ExecutorRecord]
