"""Define the journal: the durable record of runs, tasks, results, snapshots and events, and the work queue.

Every method blocks and is called from one thread at a time. Methods that write raise JournalError when the
journal cannot be written (disk full, input/output error, connection lost); what was committed stays.
A task's `seq` is its place in its run's input (the line number of a file); `run` is always `RunRecord.id`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self

import msgspec

from orchestrator.core.output import OutputChunk
from orchestrator.core.records import NewTask, PendingTask, RunEvent, StoredTask, TaskOutcome, TaskSnapshot
from orchestrator.core.undo_records import UndoRecord, UndoUpdate
from orchestrator.journal.contention import Handler
from runtime import plain_signal
from runtime.statuses import ExecutionStatus

if TYPE_CHECKING:  # what only a living run needs
    from orchestrator.core.progress_report import ProgressReport

Mode = Literal["create", "write", "read"]
"""`create` writes, and makes a new journal if there is none; `write` and `read` need one that exists."""

INVALID: Final = "invalid"
"""The encoding of a value that claimed to be JSON and is not UTF-8. It is kept as bytes and cannot be decoded."""

RUN_ENDED = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED})
"""Run states that never change. An INTERRUPTED run, or one left STARTED by a dead supervisor, can be resumed."""


class Owner(msgspec.Struct, frozen=True):
    """The supervisor that has, or last had, a run. `alive`: it holds the run's claim now."""

    pid: int
    host: str
    alive: bool = False


class SupervisorRecord(msgspec.Struct, frozen=True):
    """A supervisor of a run that may have left processes behind.

    `token` marks these processes and no others (`backends/run_token.py`).
    """

    token: str
    pid: int
    host: str


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A run in the journal. Times are Unix seconds; `agent` and `config` are what `create_run` was given.

    `status` is AWAITING until the first claim, then STARTED, and in the end COMPLETED, FAILED or INTERRUPTED.
    `sealed`: its input is complete. `starts` counts the claims. `parent`: the run whose failed tasks it retries, or the
    parent of that, if that was removed; then `pruned_parent` is its id. `labels`: words by which people find it.
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
    signal: plain_signal.InterruptSignal | None = None
    starts: int = 0
    owner: Owner | None = None
    parent: int | None = None
    labels: Mapping[str, str] = {}
    pruned_parent: str | None = None

    @property
    def ended(self) -> bool:
        """Return whether the run is over for good."""
        return self.status in RUN_ENDED


class Counts(msgspec.Struct, frozen=True):
    """The number of a run's tasks by status. `pending` ones have no outcome; `interrupted` ones run again on resume."""

    pending: int = 0
    completed: int = 0
    failed: int = 0
    interrupted: int = 0

    @property
    def total(self) -> int:
        """Return the number of all tasks known so far."""
        return self.pending + self.completed + self.failed + self.interrupted


class Request(msgspec.Struct, frozen=True):
    """A request from outside to stop a living run, or one `task` of it."""

    signal: plain_signal.InterruptSignal
    task: int | None = None
    key: str | None = None


class Committed(msgspec.Struct, frozen=True):
    """The result of a commit: the outcomes that were accepted, and the sequence numbers of its events, in order."""

    accepted: Sequence[TaskOutcome]
    events: range


class Journal(Protocol):
    """A store of runs (see the module). All kinds pass one suite, `tests/support/journal_conformance`."""

    @property
    def location(self) -> str:
        """Return the place of the journal, for messages and for `--journal`."""
        ...

    def handle_contention(self, handler: Handler) -> None:
        """Call this handler from now on while another process has the journal locked."""
        ...

    # -- runs ----------------------------------------------------------------------------------------------

    def create_run(
        self, run_id: str, *, agent: Any, config: Any = None, cwd: str = "", parent: int | None = None
    ) -> RunRecord:
        """Record a new run. `agent` and `config` are plain JSON values. Raises UsageError if the id is taken.

        `parent`: the run that it retries.
        """
        ...

    def draft(
        self, run_id: str, *, agent: Any, config: Any = None, cwd: str = "", parent: int | None = None
    ) -> AbstractContextManager[RunRecord]:
        """Record a new run that is invisible to others until the block ends; it is dropped if the block raises.

        For many tasks: each `add_tasks` in the block is a separate transaction, so that other processes can write
        meanwhile.
        """
        ...

    def get_run(self, run_id: str | None = None) -> RunRecord:
        """Return the run with this id or unique prefix of an id, the latest for None. Raises UsageError otherwise."""
        ...

    def latest_resumable(self) -> RunRecord | None:
        """Return the latest run that is not over, preferably one without a living supervisor; None if there is none."""
        ...

    def runs(self) -> list[RunRecord]:
        """Return all runs, oldest first."""
        ...

    def retries(self, run: int) -> list[RunRecord]:
        """Return the runs that retry this one, and those that retry them, oldest first."""
        ...

    def claim(self, run: int, token: str = "") -> RunRecord:
        """Make the caller the run's only supervisor until `release`, `close` or its death.

        `token` marks its processes. It is kept until `finish_run` or `remove_supervisor` records that they are gone.
        In a `transaction` that fails the run stays as it was, and the caller releases the claim. Counts one start, and
        drops interrupt requests that were not taken. A run that is over stays so. Raises ClaimedError if another
        supervisor has it.
        """
        ...

    def lock(self, run: int) -> AbstractContextManager[None]:
        """Keep supervisors from a run for the block, without a start of it. Raises ClaimedError if one has it."""
        ...

    def release(self, run: int) -> None:
        """Release a claim. Has no effect if there is none."""
        ...

    def other_supervisors(self, run: int, token: str) -> list[SupervisorRecord]:
        """Return the supervisors of a run, besides the one with this token, that may have left processes behind."""
        ...

    def remove_supervisor(self, run: int, token: str) -> None:
        """Record that a supervisor has left no process behind. Has no effect if it is not known."""
        ...

    def finish_run(
        self,
        run: int,
        status: ExecutionStatus,
        signal: plain_signal.InterruptSignal | None = None,
        events: Sequence[RunEvent] = (),
        *,
        token: str = "",
    ) -> RunRecord:
        """Record how a claimed run ended, with its last events. COMPLETED and FAILED never change: the first stays.

        `token`: the token of the ending supervisor, if it leaves no process behind.
        """
        ...

    def report_progress(self, run: int, report: bytes) -> None:
        """Keep how far a claimed run is, for other processes: what `progress_report.encode` returned.

        Costs no wait for the disk: a power cut may lose it. Raises JournalError, at once where another process writes.
        """
        ...

    def progress(self, run: int) -> ProgressReport | None:
        """Return what the run's supervisor reported last; None if it has not, or has ended the run."""
        ...

    def label_run(self, run: int, labels: Mapping[str, str]) -> None:
        """Record the labels of a run, instead of those that it has."""
        ...

    def remove_run(self, run: RunRecord) -> None:
        """Remove a run with all that belongs to it, in steps, so that other processes can write meanwhile.

        Raises ClaimedError if a supervisor has it, UsageError if it is not as this record has it any more.
        """
        ...

    def used_size(self, run: int | None = None) -> int:
        """Return the bytes of the journal's content without what was removed; roughly those of one run, if given."""
        ...

    def vacuum(self) -> None:
        """Give the space of what was removed back to the file system. Others cannot write meanwhile."""
        ...

    # -- tasks ---------------------------------------------------------------------------------------------

    def transaction(self) -> AbstractContextManager[None]:
        """Make the calls of create_run, claim, add_agents, add_tasks and seal in the block atomic. Not for commit."""
        ...

    def add_tasks(self, run: int, tasks: Sequence[NewTask]) -> tuple[int, int]:
        """Append tasks, and return their first and last seq. A task without `seq` gets the one after the last.

        Raises DuplicateKeyError for a key that exists, and UsageError for a seq that does not rise, a sealed run, or a
        key that is not text. Then no task is added.
        """
        ...

    def look_up(self, run: int, keys: Sequence[str]) -> dict[str, StoredTask]:
        """Return the run's tasks with these keys, by key."""
        ...

    def keys(self, run: int, seqs: Collection[int]) -> dict[int, str]:
        """Return the keys of the run's tasks with these numbers, by number."""
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
        """Return the seq of the run's last task, 0 if it has none."""
        ...

    def unseal(self, run: int) -> None:
        """Let a run that is not over take further tasks again, until it is sealed once more."""
        ...

    def seal(self, run: int) -> None:
        """Record that the input is complete: the run takes no more tasks."""
        ...

    def pending(self, run: int, after_seq: int = 0, limit: int = 1000, *, urgent: bool = False) -> list[PendingTask]:
        """Return the next tasks with `seq > after_seq` that are not terminal, in order, with attempts and snapshot.

        At most `limit` tasks, fewer when they are large; an empty list only when there are none. `urgent`: those with a
        priority above 0 only.
        """
        ...

    def counts(self, run: int) -> Counts:
        """Return the number of the run's tasks by status."""
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
        output: Sequence[OutputChunk] = (),
        undo: Sequence[UndoRecord] = (),
        undo_updates: Sequence[UndoUpdate] = (),
    ) -> Committed:
        """Make all of this durable in one transaction of a claimed run: it survives a power cut afterwards.

        An outcome of a task that is terminal already is left out of `accepted`. `attempts` maps a seq to the
        attempts used up. A terminal outcome drops its task's snapshot. `undo` are new records, whose numbers rise;
        `undo_updates` apply after them, and change no record that is struck out. Raises RuntimeError without a claim,
        and inside of `transaction`.
        """
        ...

    def undo_records(self, run: int, *, outstanding: bool = False) -> list[UndoRecord]:
        """Return the undo records of a run by number; with `outstanding` those that are not struck out."""
        ...

    def last_undo(self, run: int) -> int:
        """Return the highest number of the run's undo records, 0 if it has none."""
        ...

    def update_undo(self, run: int, updates: Sequence[UndoUpdate]) -> None:
        """Change the states of undo records. One that is struck out stays so, hence a second call changes nothing.

        Needs no claim: what is left of a dead supervisor's run reports so what it has undone.
        """
        ...

    def last_event(self, run: int) -> int:
        """Return the sequence number of a claimed run's last event."""
        ...

    def results(
        self, run: int, statuses: Collection[ExecutionStatus] | None = None, seqs: Sequence[int] | None = None
    ) -> Iterator[TaskOutcome]:
        """Iterate over the outcomes, one a task, in seq order.

        Those of these statuses, and of these tasks, only, if given; `seqs` are a few thousand at most.
        """
        ...

    def ended_tasks(self, run: int, after_seq: int = 0) -> list[int]:
        """Return the seqs above this one of tasks with a terminal outcome, in order."""
        ...

    def events(self, run: int, from_seq: int = 1, limit: int | None = None) -> Iterator[RunEvent]:
        """Iterate over the committed events from a sequence number on (inclusive), in order."""
        ...

    def output(self, run: int, after: int = 0, task: int | None = None) -> Iterator[OutputChunk]:
        """Iterate over the committed output behind the chunk `after`, in the order of the commits.

        `task`: of this one only; 0 is what belongs to no task.
        """
        ...

    # -- from outside --------------------------------------------------------------------------------------

    def add_request(self, run: int, signal: plain_signal.InterruptSignal, key: str | None = None) -> Owner | None:
        """Ask the run's living supervisor to stop it, or one task; return the supervisor.

        Returns None, and keeps no request, if there is none. Raises UsageError if no task has this key.
        """
        ...

    def take_requests(self, run: int) -> list[Request]:
        """Return the requests since the last call, oldest first."""
        ...

    def data_version(self) -> int:
        """Return a number that changes when another connection has committed. Cheap to poll."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def close(self) -> None:
        """Release all claims and close the connection. A second call has no effect."""
        ...
