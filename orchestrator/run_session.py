"""One supervisor from its start to its end: the engine, the store, the signals, and the run in the journal.

What Supervisor (for Python) and the command line have in common. Blocking calls say so.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from orchestrator.backends import BackendFactory
from orchestrator.backends.local import LocalBackend
from orchestrator.core import stimuli
from orchestrator.core.agent_needs import may_be_dropped
from orchestrator.core.instructions import ReportAgent
from orchestrator.core.machine import JOURNAL_TIMEOUT
from orchestrator.core.records import NewTask, RunEvent
from orchestrator.core.settings import RunSettings
from orchestrator.core.status import StatusView
from orchestrator.engine.clock import Clock, SystemClock
from orchestrator.engine.hub import Hub
from orchestrator.engine.loop import Engine, Observer
from orchestrator.engine.signals import SignalPipe
from orchestrator.engine.switch_interval import short_switch_interval
from orchestrator.engine.task_store import CONTENTION_LIMIT, NOTHING_KNOWN, JournalWriter, Known, MemoryStore
from orchestrator.hints import is_of_program
from orchestrator.hints import resumption as resume_of
from orchestrator.identity import AgentNumbers, Comparison, RunMismatchError
from orchestrator.journal import Contention, Journal, JournalError, RunRecord, wait_at_most
from orchestrator.journal.sqlite.contention import LIMIT
from orchestrator.logging.sinks import PATIENCE, LogCallback, buffer_of
from orchestrator.words import resumed_log_fields
from runtime.errors import ExecutionInterrupted, QuiesceError, UsageError
from runtime.ipc import codec
from runtime.model import ExecutionStatus, InterruptSignal, Severity, escape_surrogates

FAILED_JOURNAL_CLOSE_TIMEOUT = 1.0
"""Seconds that a journal which has failed gets to refuse what is still waiting."""

CLOSE_SLICE = 0.1
"""Seconds between two looks at why the journal's last write takes so long."""

SPOOL_AHEAD = 8
"""Batches that may wait to be written; who feeds more is slowed down to the disk's pace."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `remaining` names processes that not even SIGKILL ended; `error` is one line or None."""

    status: ExecutionStatus
    signal: InterruptSignal | None
    error: str | None
    view: StatusView
    remaining: Sequence[str]
    seconds: float

    @property
    def signal_name(self) -> str | None:
        """`SIGTERM` and the like, if an OS signal was the cause."""
        by = self.signal.triggered_by if self.signal is not None else ""
        return by.removeprefix("signal:") if by.startswith("signal:") else None


def new_run_id() -> str:
    """A name for a run: the time, so that names sort, and some chance, so that two never meet."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


LONGEST_RUN_ID = 150
"""Bytes: with what is added to it, it names a cgroup, and a name in a file system has at most 255."""


def check_run_id(run_id: str) -> None:
    """Raise UsageError if a run cannot have this name: the environment and the names of files have to take it."""
    if not isinstance(run_id, str):
        raise UsageError(f"the run id {run_id!r:.80} is no text")
    if escape_surrogates(run_id) != run_id or "\0" in run_id:
        raise UsageError(f"the run id {run_id!r:.80} is not text in UTF-8 without NUL")
    if not run_id.strip() or len(run_id.encode()) > LONGEST_RUN_ID:
        size = len(run_id.encode())
        raise UsageError(f"a run id has 1 to {LONGEST_RUN_ID} bytes, not {size}, and is not blank: {run_id!r:.40}")


class RunSession:
    """See the module's docstring. `start`, then `hire`, `spool`, `seal`, and in the end `finish`."""

    def __init__(
        self,
        settings: RunSettings,
        run_id: str,
        log: LogCallback,
        journal: Journal | None = None,
        *,
        handle_signals: bool = True,
        observers: Sequence[Observer] = (),
        backend: BackendFactory = LocalBackend,
        clock: Clock | None = None,
    ) -> None:
        check_run_id(run_id)
        self.settings = settings
        self.run_id = run_id
        self.hub = Hub()
        self.journal = journal
        self.run: RunRecord | None = None
        self._now = (clock or SystemClock()).monotonic
        self._began = self._now()
        self._log = log
        self._signals = SignalPipe() if handle_signals and SignalPipe.is_possible() else None
        self._backend = backend(run_id, settings)
        self._engine = Engine(
            settings, self._backend, log, self._on_agent, self._signals, observers, self._tell_waiting, clock=clock
        )
        self._store = MemoryStore(self.hub, self._tell_here) if journal is None else JournalWriter(self.hub, self.tell)
        self._agents: dict[tuple[bool, bytes], tuple[int, Future[ReportAgent]]] = {}
        self._counted_agents: set[int] = set()
        self._numbers: dict[int, Future[ReportAgent]] = {}
        self._identities: dict[int, str] = {}
        self._stored_agents: Mapping[int, str] = {}
        self._agent_numbers: AgentNumbers | None = None
        self._resumed_by_program = False
        self._is_writing = False
        self._report = wait_at_most(LIMIT, self._say_waiting)
        self._stored = 0
        self._handed_in = 0
        self._ending: RunResult | None = None
        self._lock = threading.Lock()
        self._process_state = ExitStack()

    # -- the beginning ------------------------------------------------------------------------------

    def start(self) -> None:
        """Take the signals over, start the guardian and the loop. QuiesceError: the host has no process left for it."""
        self._process_state.enter_context(short_switch_interval)
        if self.journal is not None:
            self.journal.handle_contention(self._on_contention)
        if self._signals is not None:
            self._signals.install()
        try:
            self._engine.start(self._store)
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started (a limit, or a sandbox)
            self._backend.close()
            self._release_process_state()
            if self.journal is not None:
                self.journal.close()
            why = error.strerror if isinstance(error, OSError) else None
            raise QuiesceError(f"the guardian cannot be started: {why or error}") from error

    def _tell_waiting(self) -> None:
        """The loop is over: whoever waits for something that can no longer come is told so."""
        why = self.end_error()
        self.hub.fail_waiters()
        self._store.fail_pending(why)
        for future in list(self._numbers.values()):
            with suppress(InvalidStateError):  # known, or told by whoever asked just now
                future.set_exception(why)

    def while_stopped(self, around: Callable[[], AbstractContextManager[object]]) -> None:
        """Have `around()` entered, in the loop's thread, for as long as a Ctrl-Z stops this process."""
        self._engine.around_stop = around

    def tell(self, stimulus: stimuli.Stimulus) -> None:
        """Hand a stimulus to the loop, from any thread."""
        self._engine.post(stimulus)

    def _tell_here(self, stimulus: stimuli.Stimulus) -> None:
        self._engine.post(stimulus, here=True)

    @property
    def status(self) -> StatusView:
        """What a person may see, renewed a few times a second."""
        return self._engine.status

    @property
    def guardian(self) -> int | None:
        """The guardian's pid."""
        return self._backend.guardian_pid

    @property
    def has_ended(self) -> bool:
        """Whether the loop is over: all processes gone, all outcomes handed to the store."""
        return self._engine.is_over

    # -- agents -------------------------------------------------------------------------------------

    def register_agent(self, *, by_name: bool, source: bytes, identity: str = "") -> tuple[int, Future[ReportAgent]]:
        """Make an agent known; its number, and a future of what the first executor says of it.

        `identity`: what it is known by in later starts of the run. Whoever has no more tasks of it on the way calls
        `release`, so that a large one can be dropped when its tasks have ended; until then it is kept.
        """
        with self._lock:
            is_counted = may_be_dropped(by_name=by_name, source=source)
            key = (by_name, hashlib.sha256(source).digest() if is_counted else source)
            is_new = key not in self._agents
            if is_new:
                number = self._number_of(identity)
                future: Future[ReportAgent] = Future()
                self._agents[key] = (number, future)
                self._numbers[number] = future
            found = self._agents[key]
            if is_counted:
                self._counted_agents.add(found[0])
            if is_new or is_counted:
                self.tell(stimuli.AgentAdded(found[0], by_name, source))
        if self.has_ended:
            with suppress(InvalidStateError):
                found[1].set_exception(self.end_error())
        return found

    def release(self, agent: int) -> None:
        """Say that a caller of `hire` has handed in all tasks that it had for an agent."""
        if agent in self._counted_agents:
            self.tell(stimuli.AgentReleased(agent))

    def _number_of(self, identity: str) -> int:
        """The number that an earlier start of the run gave to this agent, or a new one."""
        if self._agent_numbers is None:
            existing = self._find_run()
            if existing is not None and self.journal is not None:
                self._stored_agents = self.journal.agents(existing.id)
            self._agent_numbers = AgentNumbers(self._stored_agents)
            self._identities.update(self._stored_agents)
        number = self._agent_numbers.take(identity)
        self._identities[number] = identity
        if identity and number not in self._stored_agents and isinstance(self._store, JournalWriter):
            self._store.add_agent(number, identity)
        return number

    def _on_agent(self, known: ReportAgent) -> None:
        future = self._numbers[known.agent]
        if future.done():  # one executor refused it, another one can load it: the first word counts
            return
        with suppress(InvalidStateError):  # told just now that the run is over
            if known.error is None:
                future.set_result(known)
            else:
                future.set_exception(UsageError(known.error))

    @property
    def was_interrupted(self) -> bool:
        """Whether the run was stopped before all was done."""
        return self._engine.state.signal is not None

    def raise_if_interrupted(self) -> None:
        """For long work in other threads. Raises ExecutionInterrupted."""
        signal = self._engine.state.signal
        if signal is not None:
            raise ExecutionInterrupted(signal)

    def end_error(self) -> BaseException:
        """What to raise at whoever waits for what will not come."""
        state = self._engine.state
        if self._engine.error is not None:
            return self._engine.error
        if state.error is not None:
            return QuiesceError(state.error)
        if state.signal is not None:
            return ExecutionInterrupted(state.signal)
        return QuiesceError("the supervisor has ended")

    # -- the run ------------------------------------------------------------------------------------

    def begin_run(self, agent: Any, prepare: Callable[[Journal, int], None] | None = None) -> None:
        """Create the run in the journal, or take up the one of that id; then `set_out`. Blocking.

        `prepare` writes its first tasks; if it raises, there is no run. Raises UsageError (claimed by a living
        supervisor, bad input), JournalError.
        """
        if self.journal is None or self.run is not None:
            return
        journal = self.journal
        existing = self._find_run()
        if existing is None:
            where = os.getcwd()
            if escape_surrogates(where) != where:
                raise UsageError(
                    f"the working directory {where!r} is not text in UTF-8: start the run from another one"
                )
            unsaid = {"workers"} - self.settings.model_fields_set  # a later start may have other processors
            config = self.settings.model_dump(mode="json", exclude=unsaid)
            if prepare is None:
                run = journal.create_run(self.run_id, agent=agent, config=config, cwd=where)
            else:
                with journal.draft(self.run_id, agent=agent, config=config, cwd=where) as run:
                    prepare(journal, run.id)
            self.resume_run(run)
        elif not is_of_program(existing):
            raise RunMismatchError(
                f"run {self.run_id} was begun by `quiesce run`, not by a program: go on with it by "
                f"`{resume_of(existing, journal.location)}`, or choose another run_id"
            )
        else:
            self.resume_run(existing, again=True)

    def _find_run(self) -> RunRecord | None:
        """The run of this id that the journal has."""
        if self.journal is None:
            return None
        return next((run for run in self.journal.runs() if run.run_id == self.run_id), None)

    def resume_run(
        self, run: RunRecord, *, again: bool = False, complete: Callable[[Journal, int], None] | None = None
    ) -> None:
        """Claim a run that exists, to go on where it ended (`set_out`). Raises ClaimedError.

        `again`: a program hands the same tasks in once more. Each is compared with what the run has (`compare`); one
        that is known is not added a second time, and runs if it has not ended. The run goes on until the program says
        that it is done. `complete` adds the tasks that were missing.
        """
        assert self.journal is not None
        try:
            with self.journal.transaction():  # whoever is refused has not changed the run
                claimed = self.journal.claim(run.id, self._backend.token)
                if again and self.journal.agents(run.id) != self._stored_agents:
                    raise UsageError(f"another supervisor has changed run {run.run_id} just now: start again")
                if complete is not None:
                    complete(self.journal, run.id)
                    claimed = msgspec.structs.replace(claimed, sealed=True)
        except BaseException:
            self.journal.release(run.id)
            raise
        self.run = claimed
        counts = self.journal.counts(run.id)
        last = self.journal.last_seq(run.id)
        self.tell(stimuli.RunResumed(last, counts.total, counts.completed, counts.failed, by_program=again))
        if self.run.starts > 1:
            self._note("run.resumed", *resumed_log_fields(run, self.run.starts, counts))
        if self.run.sealed and not again:
            self.tell(stimuli.InputClosed())
        self._resumed_by_program = again
        self._stored, self._handed_in = counts.total, 0

    def start_tasks(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Begin with the tasks of the run that was begun or taken up; once. Blocking, and then `meanwhile` is called.

        If a supervisor that had it before was killed, its guardian may still give agents their grace: they are not
        met by their own next attempts. Raises ExecutionInterrupted when this run is stopped first (the journal still
        has those that were not seen off then), JournalError when there is no thread for the journal: then the run is
        stopped.
        """
        if self.journal is None or self.run is None or self._is_writing:
            return
        assert isinstance(self._store, JournalWriter)

        def check() -> None:
            self.raise_if_interrupted()
            if self.has_ended:
                raise self.end_error()
            meanwhile()

        for supervisor in self.journal.other_supervisors(self.run.id, self._backend.token):
            if self._backend.wait_for_previous(supervisor, self._note, check):
                self.journal.remove_supervisor(self.run.id, supervisor.token)
        try:
            self._store.start(self.journal, self.run.id)
        except JournalError as error:
            self.tell(stimuli.HostFailed(str(error)))
            raise
        self._is_writing = True

    def _on_contention(self, contention: Contention) -> None:
        """Somebody has the journal locked, while its thread does not have it yet."""
        self.raise_if_interrupted()
        self._report(contention)

    def _say_waiting(self, holders: Sequence[str], seconds: float) -> None:
        self._note("journal.waiting", Severity.WARNING, {"holders": list(holders), "seconds": round(seconds, 1)})

    def _note(self, name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        self.tell(stimuli.LogRequested(name, severity, fields))

    @property
    def is_taken_up(self) -> bool:
        """Whether a program hands in tasks of a run that has some already."""
        return self._resumed_by_program

    def compare(self, tasks: Sequence[NewTask]) -> Known:
        """Compare tasks with those that the run has under the same keys, and return these. Blocking.

        Runs in the caller's thread, because it may call methods of the caller's inputs. Raises RunMismatchError.
        """
        if not self._resumed_by_program or self.run is None:
            return NOTHING_KNOWN
        comparison = Comparison(self.run_id, agents=self._identities)
        known = self._store.look_up([task.key for task in tasks]).result()
        for task in tasks:
            stored = known.get(task.key)
            if stored is not None:
                comparison.check(task, stored.task)
            elif self.run.sealed:
                comparison.refuse_new(task, self._stored + 1, self._stored)
        return known

    def spool(self, tasks: Sequence[NewTask], known: Known = NOTHING_KNOWN) -> Future[None]:
        """Hand in tasks. The future is done when they are durable; UsageError: a duplicate key; JournalError.

        `known`: what `compare` returned for them.
        """
        self._handed_in += len(known)
        return self._store.add_tasks(tasks, known)

    def feed(self, batches: Iterable[Sequence[NewTask]]) -> int:
        """Hand in many tasks, a few batches ahead of the disk. Blocking. How many they were. Raises as `spool`."""
        count = 0
        unwritten: deque[Future[None]] = deque()
        for batch in batches:
            unwritten.append(self.spool(batch))
            count += len(batch)
            while len(unwritten) > SPOOL_AHEAD or (unwritten and unwritten[0].done()):
                unwritten.popleft().result()
        for future in unwritten:
            future.result()
        return count

    def seal(self) -> None:
        """No more tasks will come: the run ends when all are done."""
        if self._resumed_by_program and self._handed_in < self._stored:
            left = {"run": self.run_id, "tasks": self._stored - self._handed_in}
            self._note("run.tasks_left", Severity.WARNING, left)
        self._store.seal()

    def cancel_start(self) -> None:
        """There will be no run: let the executors go."""
        self.tell(stimuli.InputClosed())

    def interrupt(self, signal: InterruptSignal, task: str | None = None) -> None:
        """Stop everything, or one task by its key."""
        self.tell(stimuli.InterruptRequested(signal, task))

    # -- the end ------------------------------------------------------------------------------------

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the loop's end. Blocking. Whether it has ended."""
        return self._engine.join(timeout)

    def finish(self) -> RunResult:
        """Wait for the loop's end, then write down how it ended and let go of everything. Blocking, bounded."""
        if self._ending is not None:
            return self._ending
        self._engine.join()
        state = self._engine.state
        status = self._final_status()
        ending = RunResult(
            status=status,
            signal=state.signal,
            error=state.error if self._engine.error is None else f"a defect in quiesce: {self._engine.error!r}",
            view=self._engine.machine.status(self._now()),
            remaining=state.remaining,
            seconds=self._now() - self._began,
        )
        try:
            self._ending = ending = self._write_end(ending)
        finally:  # also when the program's log raises
            self._release_process_state()
        buffer = buffer_of(self._log)
        if buffer is not None:  # a reader that goes on reading gets all of it, unless somebody waits for the end
            buffer.flush(None if ending.signal is None else PATIENCE)
        return ending

    def _release_process_state(self) -> None:
        """Of what a process has once."""
        self._engine.close()
        self._process_state.close()
        if self._signals is not None:
            self._signals.restore()
            self._signals.close()

    def _final_status(self) -> ExecutionStatus:
        state = self._engine.state
        ended = state.counts[ExecutionStatus.COMPLETED] + state.counts[ExecutionStatus.FAILED]
        if state.signal is not None or self._engine.error is not None or ended < state.accepted:
            return ExecutionStatus.INTERRUPTED
        return ExecutionStatus.FAILED if state.counts[ExecutionStatus.FAILED] else ExecutionStatus.COMPLETED

    def _write_end(self, ending: RunResult) -> RunResult:
        view = ending.view
        fields: Mapping[str, Any] = {
            "run": self.run_id,
            "status": ending.status.value,
            "completed": view.completed,
            "failed": view.failed,
            "interrupted": view.interrupted,
            "pending": view.accepted - view.completed - view.failed - view.interrupted,
            "seconds": round(ending.seconds, 3),
        }
        event = RunEvent(kind="run.finished", at=time.time(), data=codec.encode_json(fields))
        try:
            self._log("run.finished", Severity.INFO, fields)
        finally:  # also when the program's log raises
            problem = self._write_last(event, ending)
            self.hub.close()
        if problem is None:
            return ending
        self._log("journal.failed", Severity.ERROR, {"error": problem})
        return replace(ending, status=ExecutionStatus.INTERRUPTED, error=ending.error or problem)

    def _write_last(self, event: RunEvent, ending: RunResult) -> str | None:
        """Into the journal, and close it. What went wrong, if that is news."""
        is_known = self._engine.state.journal_broken
        token = "" if ending.remaining or self._engine.error is not None else self._backend.token
        if self.journal is None or self._is_writing:
            self._store.finish([event], ending.status, ending.signal, token)
            is_closed = self._close_store()
            problem = self._store.failure if is_closed else "the journal did not answer; how the run ended is not in it"
            return None if is_known else problem
        try:  # its thread never had it
            if self.run is not None:
                self.journal.handle_contention(wait_at_most(self._journal_seconds()))
                self.journal.finish_run(self.run.id, ending.status, ending.signal, token=token)
        except QuiesceError as error:
            return str(error)
        finally:
            self.journal.close()
        return None

    def _journal_seconds(self) -> float:
        """What a stop has left for the journal."""
        until = self._engine.state.journal_deadline
        return JOURNAL_TIMEOUT if until is None else max(0.0, until - self._now())

    def _close_store(self) -> bool:
        """Wait for the last write, within what a stop has left; if nobody stops us, while somebody has it locked."""
        state, now = self._engine.state, time.monotonic()
        patience = self._journal_seconds()
        until = now + (min(FAILED_JOURNAL_CLOSE_TIMEOUT, patience) if state.journal_broken else patience)
        last = until if state.journal_deadline is not None else now + CONTENTION_LIMIT
        while not self._store.close(min(CLOSE_SLICE, max(0.0, until - now))):
            now = time.monotonic()
            if self._signals is not None and self._signals.read():
                last = min(last, now + JOURNAL_TIMEOUT)
            if now >= (last if self._store.is_contended else until):
                return False
        return True
