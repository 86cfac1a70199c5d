"""Conduct one run from its start to its end: the engine, the store, the signals, and the run in the journal.

Supervisor (for Python) and the command line have this in common. Blocking calls say so.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator import lazy_imports
from orchestrator.backends import BackendFactory, guardian_process
from orchestrator.backends.local import LocalBackend
from orchestrator.control.run_control import RunControl
from orchestrator.control.server import ControlServer
from orchestrator.core import progress_report, stimuli
from orchestrator.core.instructions import ReportAgent
from orchestrator.core.ladder import Rung
from orchestrator.core.progress import Progress
from orchestrator.core.records import NewTask, RunEvent
from orchestrator.core.settings import RunSettings
from orchestrator.core.status import StatusView
from orchestrator.descriptions import resumed_log_fields
from orchestrator.display import text
from orchestrator.engine.clock import Clock, SystemClock
from orchestrator.engine.hub import Hub
from orchestrator.engine.journal_writer import JournalWriter
from orchestrator.engine.loop import Engine
from orchestrator.engine.memory_store import MemoryStore
from orchestrator.engine.signals import SignalPipe
from orchestrator.engine.status_board import Observer
from orchestrator.engine.switch_interval import short_switch_interval
from orchestrator.engine.task_store import NOTHING_KNOWN, Known
from orchestrator.hints import is_of_program
from orchestrator.hints import resumption as resume_of
from orchestrator.identity import Comparison, RunMismatchError
from orchestrator.journal import Contention, Journal, JournalError, RunRecord, wait_at_most
from orchestrator.journal.contention import LIMIT
from orchestrator.logging.output_sinks import OutputSink
from orchestrator.logging.sinks import LogCallback, buffer_of
from orchestrator.run_id import check_run_id
from orchestrator.run_result import RunResult, final_status
from orchestrator.session.agents import AgentRegistry
from orchestrator.session.last_write import LastWrite
from runtime.errors import ExecutionInterrupted, QuiesceError, UsageError
from runtime.ipc import codec
from runtime.ipc.guardian_protocol import UndoJournal
from runtime.reasons import escape_surrogates
from runtime.statuses import ExecutionStatus, Severity
from runtime.stop_limits import OUTPUT_TIMEOUT

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

SPOOL_AHEAD = 8
"""Batches that may wait to be written; a caller that feeds more is slowed down to the disk's pace."""


class RunSession:
    """Conduct one run. Call `start`, then `register_agent`, `begin_run`, `start_tasks`, `spool`, `seal`, and `finish`.

    backend, clock: see Supervisor; a test gives its own. recorded: the settings that the journal keeps, if they differ
    from those of this start.
    """

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
        outputs: Sequence[OutputSink] | None = None,
        recorded: RunSettings | None = None,
    ) -> None:
        check_run_id(run_id)
        watched = settings.watch_host
        self._watcher = None if watched is None else lazy_imports.host_watcher(watched, self.post)  # may raise: first
        self.settings = settings
        self._recorded = recorded or settings
        self.run_id = run_id
        self.hub = Hub()
        self.journal = journal
        self.run: RunRecord | None = None
        self.parent: int | None = None
        """The number of the run that a new one retries."""
        self.labels: Mapping[str, str] = {}
        """The labels of a new run."""
        self._now = (clock or SystemClock()).monotonic
        self._began = self._now()
        self._log = log
        self._outputs = outputs or ()
        self._signals = SignalPipe(settings.warning_signals) if handle_signals and SignalPipe.is_possible() else None
        self._backend = backend(run_id, settings)
        self._agents = agents = AgentRegistry(self.post, self._stored_agents, self._keep_agent)
        self._engine = Engine(
            settings, self._backend, log, agents.on_report, self._signals, observers, self._fail_waiters,
            clock=clock, outputs=outputs,
        )  # fmt: skip
        self._store = MemoryStore(self.hub, self._post_here) if journal is None else JournalWriter(self.hub, self.post)
        if isinstance(self._store, JournalWriter):
            self._store.report = self._progress_report
        self._resumed_by_program = False
        self._is_writing = False
        self._report = wait_at_most(LIMIT, self._say_waiting)
        self._stored = 0
        self._handed_in = 0
        self.loading: tuple[str, float] | None = None
        """The agent whose import a caller waits for, and since when (monotonic seconds)."""
        self._control: ControlServer | None = None
        self._ending: RunResult | None = None
        self._process_state = ExitStack()

    # -- start ------------------------------------------------------------------------------

    def start(self) -> None:
        """Take over the signals, start the guardian and the loop. Raises QuiesceError when it cannot."""
        self._process_state.enter_context(short_switch_interval)
        if self.journal is not None:
            self.journal.handle_contention(self._on_contention)
        if self._signals is not None:
            self._signals.install()
        try:
            self._engine.start(self._store)
            if self._watcher is not None:
                self._watcher.start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started (a limit, or a sandbox)
            self._backend.close()
            self._release_process_state()
            if self.journal is not None:
                self.journal.close()
            reason = error.strerror if isinstance(error, OSError) else None
            raise QuiesceError(f"the guardian cannot be started: {reason or error}") from error
        if self.journal is None:
            self._open_control()

    def _open_control(self) -> None:
        """Listen on the run's control socket. A run that has none goes on: the journal takes requests, too."""
        location = None if self.journal is None else self.journal.location
        control = ControlServer(RunControl(self, self.post, self._now), self.hub, location)
        try:
            control.start()
        except QuiesceError as error:
            self._note("control.unavailable", Severity.INFO, {"error": str(error)})
        else:
            self._control = control

    def _fail_waiters(self) -> None:
        """Fail every wait, after the end of the loop: nothing can come any more."""
        error = self.end_error()
        self.hub.fail_waiters()
        self._store.fail_pending(error)
        self._agents.fail_pending(error)

    def while_stopped(self, around: Callable[[], AbstractContextManager[object]]) -> None:
        """Enter `around()`, in the loop's thread, for as long as a Ctrl-Z stops this process."""
        self._engine.suspension.around_stop = around

    def post(self, stimulus: stimuli.Stimulus) -> None:
        """Hand a stimulus to the loop, from any thread."""
        self._engine.post(stimulus)

    def _post_here(self, stimulus: stimuli.Stimulus) -> None:
        self._engine.post(stimulus, here=True)

    @property
    def status(self) -> StatusView:
        """The run as it stands: renewed a few times a second, and at once when its phase, signal or error changes."""
        return self._engine.status

    @property
    def progress(self) -> Progress:
        """How far the run is now."""
        return self._engine.progress

    def _progress_report(self) -> bytes | None:
        """Return the progress for other processes, and during a stop what that waits for."""
        status, now = self.status, self._now()
        stopping = text.stop_state(status, now) if status.signal is not None else ""
        return progress_report.encode(time.time(), self.progress, stopping)

    def announce(self, tasks: int) -> None:
        """Count tasks that a caller will hand in, so that the total is known before it has. One thread at a time."""
        self._engine.announce(tasks)

    def is_executing(self, key: str) -> bool:
        """Return whether an executor executes the task of this key, a moment ago."""
        return self._engine.is_executing(key)

    @property
    def guardian(self) -> int | None:
        """The guardian's process id."""
        return self._backend.guardian_pid

    @property
    def has_ended(self) -> bool:
        """Whether the loop is over: all processes are gone, all outcomes are in the store."""
        return self._engine.is_over

    # -- agents -------------------------------------------------------------------------------------

    def register_agent(self, *, by_name: bool, source: bytes, identity: str = "") -> tuple[int, Future[ReportAgent]]:
        """Register an agent. Return its number, and a future of what the first executor reports of it.

        `identity`: by what later starts of the run know it. Call `release` when no more tasks of it are on the way, so
        that a large agent can be dropped when its tasks have ended; until then it is kept.
        """
        number, future = self._agents.register(by_name=by_name, source=source, identity=identity)
        if self.has_ended:
            self._agents.fail_pending(self.end_error())
        return number, future

    def release(self, agent: int) -> None:
        """Note that a caller of `register_agent` has handed in all tasks that it had for an agent."""
        self._agents.release(agent)

    def _keep_agent(self, number: int, identity: str) -> None:
        if isinstance(self._store, JournalWriter):
            self._store.add_agent(number, identity)

    def _stored_agents(self) -> Mapping[int, str]:
        """Return the agents by which an earlier start of the run is known."""
        run = self._find_run()
        return {} if run is None or self.journal is None else self.journal.agents(run.id)

    @property
    def was_interrupted(self) -> bool:
        """Whether the run was stopped before all was done."""
        return self.status.signal is not None

    def raise_if_interrupted(self) -> None:
        """Raise ExecutionInterrupted if the run was stopped; for long work in other threads."""
        signal = self.status.signal
        if signal is not None:
            raise ExecutionInterrupted(signal)

    def end_error(self) -> BaseException:
        """Return what to raise in a caller that waits for what will not come."""
        status = self.status
        if self._engine.error is not None:
            return self._engine.error
        if status.error is not None:
            return QuiesceError(status.error)
        if status.signal is not None:
            return ExecutionInterrupted(status.signal)
        return QuiesceError("the supervisor has ended")

    # -- the run ------------------------------------------------------------------------------------

    def begin_run(self, agent: Any, prepare: Callable[[Journal, int], None] | None = None) -> None:
        """Create the run in the journal, or resume the one of that id. Call `start_tasks` then. Blocking.

        `prepare` writes its first tasks; if it raises, there is no run. Raises UsageError (claimed by a living
        supervisor, bad input), JournalError.
        """
        if self.journal is None or self.run is not None:
            return
        journal = self.journal
        existing = self._find_run()
        if existing is None:
            cwd = os.getcwd()
            if escape_surrogates(cwd) != cwd:
                raise UsageError(f"the working directory {cwd!r} is not text in UTF-8: start the run from another one")
            defaults = {"workers"} - self._recorded.model_fields_set  # a later start may have other processors
            config = self._recorded.model_dump(mode="json", exclude=defaults)
            if prepare is None:
                run = journal.create_run(self.run_id, agent=agent, config=config, cwd=cwd, parent=self.parent)
                self._label(journal, run)
            else:
                with journal.draft(self.run_id, agent=agent, config=config, cwd=cwd, parent=self.parent) as run:
                    self._label(journal, run)
                    prepare(journal, run.id)
            self.resume_run(run)
        elif not is_of_program(existing):
            raise RunMismatchError(
                f"run {self.run_id} was started by `quiesce run`, not by a program: resume it by "
                f"`{resume_of(existing, journal.location)}`, or choose another run_id"
            )
        else:
            self.resume_run(existing, again=True)

    def _label(self, journal: Journal, run: RunRecord) -> None:
        if self.labels:
            journal.label_run(run.id, self.labels)

    def _find_run(self) -> RunRecord | None:
        """Return the run of this id that the journal has."""
        if self.journal is None:
            return None
        return next((run for run in self.journal.runs() if run.run_id == self.run_id), None)

    def resume_run(
        self, run: RunRecord, *, again: bool = False, complete: Callable[[Journal, int], None] | None = None
    ) -> None:
        """Claim a run that exists, to go on where it ended. Call `start_tasks` then. Raises ClaimedError.

        `again`: a program hands the same tasks in once more. Each is compared with what the run has (`compare`); one
        that is known is not added a second time, and runs if it has not ended. The run goes on until the program says
        that it is done. `complete` adds the tasks that were missing.
        """
        assert self.journal is not None
        try:
            with self.journal.transaction():  # a supervisor that is refused has not changed the run
                claimed = self.journal.claim(run.id, self._backend.token)
                if again and self.journal.agents(run.id) != self._agents.stored:
                    raise UsageError(f"another supervisor has changed run {run.run_id} just now: start again")
                if complete is not None:
                    complete(self.journal, run.id)
                    claimed = msgspec.structs.replace(claimed, sealed=True)
        except BaseException:
            self.journal.release(run.id)
            raise
        self.run = claimed
        self._open_control()  # not before: the run may be another supervisor's
        counts = self.journal.counts(run.id)
        last = self.journal.last_seq(run.id)
        self.post(stimuli.RunResumed(last, counts.total, counts.completed, counts.failed, by_program=again))
        if self.run.starts > 1:
            self._engine.note_resumed()
            self._note("run.resumed", *resumed_log_fields(run, self.run.starts, counts))
        if self.run.sealed and not again:
            self.post(stimuli.InputClosed())
        self._resumed_by_program = again
        self._stored, self._handed_in = counts.total, 0

    @property
    def has_begun(self) -> bool:
        """Whether the run was begun, and `start_tasks` called; always without a journal."""
        return self.journal is None or self._is_writing

    def start_tasks(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Start the tasks of the run that was begun or resumed; once. Blocking; `meanwhile` is called again and again.

        If a supervisor that had the run before was killed, its guardian may still give agents their grace: that is
        waited for, so that no task runs twice at once. Raises ExecutionInterrupted when this run is stopped first (the
        journal still has the supervisors that were not waited for), JournalError when there is no thread for the
        journal: then the run is stopped.
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
        self._recall_undo(self.journal, self.run)
        try:
            self._store.start(self.journal, self.run.id)
        except JournalError as error:
            self.post(stimuli.HostFailed(str(error)))
            raise
        self._is_writing = True

    def _recall_undo(self, journal: Journal, run: RunRecord) -> None:
        """Hand the machine the undo records that earlier starts have left, and where the heir is to write."""
        records = journal.undo_records(run.id, outstanding=True)
        here = [record for record in records if record.is_for(os.uname().nodename)]
        self.post(
            stimuli.UndoJournalOpened(
                UndoJournal(guardian_process.undo_recorder(), os.fsencode(journal.location), run.id),
                journal.last_undo(run.id),
                here,
                journal.keys(run.id, {record.task for record in here}) if here else {},
                [record for record in records if record not in here],
            )
        )

    def _on_contention(self, contention: Contention) -> None:
        """Report that another process has the journal locked, while the journal's thread does not have it yet."""
        self.raise_if_interrupted()
        self._report(contention)

    def _say_waiting(self, holders: Sequence[str], seconds: float) -> None:
        self._note("journal.waiting", Severity.WARNING, {"holders": list(holders), "seconds": round(seconds, 1)})

    def note(self, name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        """Log an event that the journal keeps, too, from any thread. Has no effect after the end of the loop."""
        self._note(name, severity, fields)

    def _note(self, name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        self.post(stimuli.LogRequested(name, severity, fields))

    @property
    def is_resumed_by_program(self) -> bool:
        """Whether a program hands in tasks of a run that has some already."""
        return self._resumed_by_program

    def compare(self, tasks: Sequence[NewTask]) -> Known:
        """Compare tasks with those that the run has under the same keys. Return these. Blocking.

        Runs in the caller's thread, because it may call methods of the caller's inputs. Raises RunMismatchError.
        """
        if not self._resumed_by_program or self.run is None:
            return NOTHING_KNOWN
        comparison = Comparison(self.run_id, agents=self._agents.identities)
        known = self._store.look_up([task.key for task in tasks]).result()
        for task in tasks:
            stored = known.get(task.key)
            if stored is not None:
                comparison.check(task, stored.task)
            elif self.run.sealed:
                comparison.refuse_new(task, self._stored + 1, self._stored)
        return known

    def look_up(self, keys: Sequence[str]) -> Known:
        """Return the tasks with these keys that the run has from an earlier start. Blocking."""
        return self._store.look_up(keys).result()

    def spool(self, tasks: Sequence[NewTask], known: Known = NOTHING_KNOWN) -> Future[None]:
        """Hand in tasks. Return a future that is done when they are durable, or fails with UsageError (a duplicate key)
        or JournalError.

        `known`: what `compare` returned for them.
        """
        self._handed_in += len(known)
        return self._store.add_tasks(tasks, known)

    def feed(self, batches: Iterable[Sequence[NewTask]]) -> int:
        """Hand in many tasks, a few batches ahead of the disk. Return their number. Blocking. Raises as `spool`."""
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

    def seal(self, *, for_good: bool = True) -> None:
        """Close the input: the run ends when all tasks are done. Unless `for_good`, a later start may add more."""
        if for_good and self._resumed_by_program and self._handed_in < self._stored:
            fields = {"run": self.run_id, "tasks": self._stored - self._handed_in}
            self._note("run.tasks_left", Severity.WARNING, fields)
        if self.has_begun:
            self._store.seal(for_good=for_good)
        else:  # no task was handed in, and so there is no run whose end the store could write
            self.cancel_start()

    def cancel_start(self) -> None:
        """Let the executors leave: there will be no run."""
        self.post(stimuli.InputClosed())

    def wait_for(self, future: Future[Any], timeout: float | None = None) -> None:
        """Wait until a future of the run is done, or for `timeout` seconds. Blocking; drives the loop meanwhile."""
        if future.done():
            return
        until = math.inf if timeout is None else time.monotonic() + timeout
        Future.add_done_callback(future, lambda _: self._engine.nudge())
        self._engine.drive_until(future.done, until)
        if not future.done():
            with self._engine.follow():
                wait([future], None if until == math.inf else max(0.0, until - time.monotonic()))

    def drive_until(self, is_done: Callable[[], bool]) -> None:
        """Drive the loop until `is_done`, for a caller that would wait for that; see `Engine.drive_until`."""
        self._engine.drive_until(is_done)

    def nudge(self) -> None:
        """Have a caller in `drive_until` look whether it has what it waits for. From any thread."""
        self._engine.nudge()

    def interrupt(self, signal: InterruptSignal, task: str | None = None, *, rung: Rung = Rung.FLAG) -> None:
        """Stop everything, at once down to `rung`, or one task by its key."""
        self.post(stimuli.InterruptRequested(signal, task, int(rung)))

    def drain(self, signal: InterruptSignal) -> None:
        """Begin no further task, and stop everything once those that run have ended."""
        self.post(stimuli.InterruptRequested(signal, when_idle=True))

    # -- the end ------------------------------------------------------------------------------------

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the loop's end. Return whether it has ended. Blocking; `timeout` in seconds."""
        return self._engine.join(timeout)

    def finish(self) -> RunResult:
        """Wait for the loop's end, record how the run ended, and release everything. Blocking, bounded."""
        if self._ending is not None:
            return self._ending
        self._engine.join()
        view = self.status
        ending = RunResult(
            status=final_status(view, has_defect=self._engine.error is not None),
            signal=view.signal,
            error=view.error if self._engine.error is None else f"a defect in quiesce: {self._engine.error!r}",
            view=view,
            remaining=view.remaining,
            seconds=self._now() - self._began,
        )
        try:
            self._ending = ending = self._write_end(ending)
        finally:  # also when the program's log raises
            self._release_process_state()
        for buffer in filter(
            None, (*self._outputs, buffer_of(self._log))
        ):  # a reader that goes on reading gets all of it, unless the run was stopped
            buffer.flush(None if ending.signal is None else OUTPUT_TIMEOUT)
        return ending

    def _release_process_state(self) -> None:
        """Release what a process has once: the loop's descriptors, the switch interval, the signal handlers."""
        if self._watcher is not None:
            self._watcher.close()
        self._engine.close()
        self._process_state.close()
        if self._signals is not None:
            self._signals.restore()
            self._signals.close()

    def _write_end(self, ending: RunResult) -> RunResult:
        fields = ending.log_fields(self.run_id)
        event = RunEvent(kind="run.finished", at=time.time(), data=codec.encode_json(fields))
        try:
            self._log("run.finished", Severity.INFO, fields)
        finally:  # also when the program's log raises
            problem = self._write_last(event, ending)
            self.hub.close()
            if self._control is not None:
                self._control.close()
        if problem is None:
            return ending
        self._log("journal.failed", Severity.ERROR, {"error": problem})
        return replace(ending, status=ExecutionStatus.INTERRUPTED, error=ending.error or problem)

    def _write_last(self, event: RunEvent, ending: RunResult) -> str | None:
        """Record the end in the journal, and close it. Return what went wrong."""
        token = "" if ending.remaining or self._engine.error is not None else self._backend.token
        last_write = LastWrite(self._store, ending.view, self._signals, self._now)
        if self.journal is None or self._is_writing:
            return last_write.through_store(event, ending, token)
        return last_write.into(self.journal, self.run, ending, token)
