"""What a journal is: the durable record of runs, tasks, results, snapshots and events, and the work queue.

Every method blocks and is called from one thread at a time. Methods that write raise JournalError when the
journal cannot be written (disk full, input/output error, file deleted underneath); what was committed stays.
A task's `seq` is its place in its run's input (the line number of a file); `run` is always `RunRecord.id`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from orchestrator.core.records import NewTask, PendingTask, RunEvent, StoredTask, TaskOutcome, TaskSnapshot
from runtime.errors import QuiesceError, UsageError
from runtime.model import ExecutionStatus, InterruptSignal

if TYPE_CHECKING:
    from orchestrator.journal.sqlite.contention import Handler

RUN_ENDED = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED})
"""Run states that never change. An INTERRUPTED run, or one left STARTED by a dead supervisor, can be resumed."""


class JournalError(QuiesceError):
    """The journal failed in mid-run: disk full, input/output error, corrupt, deleted underneath."""


class ClaimedError(UsageError):
    """A living supervisor has the run. `pid` is its process id, or None when that cannot be known."""

    def __init__(self, run_id: str, pid: int | None, where: str) -> None:
        owner = f"process {pid}" if pid else "another process"
        super().__init__(f"run {run_id} is being executed by {owner}{where}; stop that one first")
        self.run_id = run_id
        self.pid = pid


class DuplicateKeyError(UsageError):
    """Two tasks of one run have the same key: task `seq` (the line number, for files) and `first` before it."""

    def __init__(self, key: str, seq: int, first: int) -> None:
        unnamed = ": a task without a key is named by its number, so give every task a key, or none"
        why = unnamed if key in (str(seq), str(first)) else ""
        super().__init__(f"duplicate key {key!r}: task {seq} has the key of task {first}{why}")
        self.key = key
        self.seq = seq
        self.first = first


class Owner(msgspec.Struct, frozen=True):
    """The supervisor that has, or last had, a run. `alive` means that it holds the run's lock right now."""

    pid: int
    host: str
    alive: bool = False


class SupervisorRecord(msgspec.Struct, frozen=True):
    """A supervisor of a run that may have left processes behind.

    `token`: by which they are known, and only they (`backends/run_token.py`).
    """

    token: str
    pid: int
    host: str


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as the journal has it. Times are Unix seconds; `agent` and `config` are what create_run was given.

    `status` is AWAITING until the first claim, then STARTED, and in the end COMPLETED, FAILED or INTERRUPTED.
    `sealed`: its input has been read to the end. `starts` counts the claims.
    """

    id: int
    run_id: str
    agent: Any
    config: Any
    cwd: str
    status: ExecutionStatus
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    sealed: bool = False
    signal: InterruptSignal | None = None
    starts: int = 0
    owner: Owner | None = None

    @property
    def ended(self) -> bool:
        """Whether it is over for good."""
        return self.status in RUN_ENDED


class Counts(msgspec.Struct, frozen=True):
    """Tasks of a run by status. `pending` have no outcome yet; `interrupted` run again on resume."""

    pending: int = 0
    completed: int = 0
    failed: int = 0
    interrupted: int = 0

    @property
    def total(self) -> int:
        """All tasks known so far."""
        return self.pending + self.completed + self.failed + self.interrupted


class Request(msgspec.Struct, frozen=True):
    """Somebody asks a living run, or one `task` of it, to stop."""

    signal: InterruptSignal
    task: int | None = None
    key: str | None = None


class Committed(msgspec.Struct, frozen=True):
    """What a commit did: the outcomes that were accepted, and the sequence numbers its events got, in order."""

    accepted: Sequence[TaskOutcome]
    events: range


class Journal(Protocol):
    """See the module's docstring."""

    @property
    def location(self) -> str:
        """Where it is, for messages and for `--journal`."""
        ...

    def handle_contention(self, handler: Handler) -> None:
        """Who is asked from now on while somebody else has the journal locked."""
        ...

    # -- runs ----------------------------------------------------------------------------------------------

    def create_run(self, run_id: str, *, agent: Any, config: Any = None, cwd: str = "") -> RunRecord:
        """A new run. `agent` and `config` are JSON-able and come back as they are. UsageError: the id is taken."""
        ...

    def draft(self, run_id: str, *, agent: Any, config: Any = None, cwd: str = "") -> AbstractContextManager[RunRecord]:
        """A new run that nobody sees before the block has ended well; if it raises, there is none.

        For many tasks: each `add_tasks` in the block is a transaction of its own, so that others can write meanwhile.
        """
        ...

    def get_run(self, run_id: str | None = None) -> RunRecord:
        """The run with this id or unique prefix of one; the latest for None. UsageError: none, or several."""
        ...

    def latest_resumable(self) -> RunRecord | None:
        """The latest run that is not over; one without a living supervisor goes first."""
        ...

    def runs(self) -> list[RunRecord]:
        """All of them, oldest first."""
        ...

    def claim(self, run: int, token: str = "") -> RunRecord:
        """Become the run's only supervisor until `release`, `close` or death. ClaimedError: another one has it.

        `token`: by which its processes are known. It is kept until `finish_run` or `remove_supervisor` says that they
        are gone. In a `transaction` that fails the run stays as it was, and whoever asked releases the claim.

        Counts one start and forgets interrupt requests that nobody took. A run that is over stays so.
        """
        ...

    def release(self, run: int) -> None:
        """Give up a claim. Harmless if there is none."""
        ...

    def other_supervisors(self, run: int, token: str) -> list[SupervisorRecord]:
        """Return the supervisors of a run, besides the one with this token, that may have left processes behind."""
        ...

    def remove_supervisor(self, run: int, token: str) -> None:
        """Record that a supervisor has left no process behind. Harmless if it is not known."""
        ...

    def finish_run(
        self,
        run: int,
        status: ExecutionStatus,
        signal: InterruptSignal | None = None,
        events: Sequence[RunEvent] = (),
        *,
        token: str = "",
    ) -> RunRecord:
        """Record how a claimed run ended, with its last events. COMPLETED and FAILED never change: the first stays.

        `token`: of the supervisor that ends here, if it leaves no process behind.
        """
        ...

    # -- tasks ---------------------------------------------------------------------------------------------

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing for the create_run, claim, add_agents, add_tasks and seal calls inside. Not for commit."""
        ...

    def add_tasks(self, run: int, tasks: Sequence[NewTask]) -> tuple[int, int]:
        """Append tasks; the first and last seq that they got. A task without `seq` gets the one after the last.

        Nothing is added when one of them is refused. DuplicateKeyError: a key exists already.
        UsageError: a seq that does not rise, a sealed run, a key that is not text.
        """
        ...

    def look_up(self, run: int, keys: Sequence[str]) -> dict[str, StoredTask]:
        """Return the run's tasks with these keys, by key."""
        ...

    def tasks(self, run: int) -> Iterator[PendingTask]:
        """Iterate over all tasks of a run in seq order, whether they have ended or not."""
        ...

    def agents(self, run: int) -> dict[int, str]:
        """Return the identity of each agent of a run, by the number that its tasks have."""
        ...

    def add_agents(self, run: int, agents: Mapping[int, str]) -> None:
        """Record the identities of new agents."""
        ...

    def last_seq(self, run: int) -> int:
        """The seq of its last task, 0 when it has none."""
        ...

    def seal(self, run: int) -> None:
        """The input is read to its end: no more tasks."""
        ...

    def pending(self, run: int, after_seq: int = 0, limit: int = 1000, *, urgent: bool = False) -> list[PendingTask]:
        """The next tasks with `seq > after_seq` that are not terminal, in order, with attempts and snapshot.

        At most `limit`, fewer when they are large; empty only when there are none.
        """
        ...

    def counts(self, run: int) -> Counts:
        """Its tasks by status."""
        ...

    # -- what happened -------------------------------------------------------------------------------------

    def commit(
        self,
        run: int,
        *,
        outcomes: Sequence[TaskOutcome] = (),
        snapshots: Sequence[TaskSnapshot] = (),
        events: Sequence[RunEvent] = (),
        attempts: Mapping[int, int] | None = None,
    ) -> Committed:
        """Make all of it durable at once, for a claimed run. When it returns, it survives a power cut.

        An outcome for a task that is terminal already is left out of `accepted`. `attempts` maps a seq to the
        attempts used up. A terminal outcome drops its task's snapshot.
        """
        ...

    def last_event(self, run: int) -> int:
        """The sequence number of a claimed run's last event."""
        ...

    def results(self, run: int, statuses: Collection[ExecutionStatus] | None = None) -> Iterator[TaskOutcome]:
        """Every task that has an outcome, once, in seq order; of these statuses only, if given."""
        ...

    def events(self, run: int, from_seq: int = 1, limit: int | None = None) -> Iterator[RunEvent]:
        """The events from a sequence number on (inclusive), in order, as far as they are committed."""
        ...

    # -- from outside --------------------------------------------------------------------------------------

    def add_request(self, run: int, signal: InterruptSignal, key: str | None = None) -> Owner | None:
        """Ask the run's living supervisor to stop it, or one task. None, and nothing done, when there is none.

        UsageError: no task has this key.
        """
        ...

    def take_requests(self, run: int) -> list[Request]:
        """What was asked since the last call, each once, oldest first."""
        ...

    def data_version(self) -> int:
        """A number that changes when another connection has committed something. Cheap to poll."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def close(self) -> None:
        """Give up all claims and tidy up. Harmless twice."""
        ...
