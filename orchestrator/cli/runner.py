"""Run a session for the command line, with its display and its log."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from orchestrator import hints
from orchestrator.cli.arguments import agent_source
from orchestrator.cli.commands.command_run import CommandLogOutput, CommandRun
from orchestrator.cli.exit import EndedRun, outlive_stack_requests, print_error
from orchestrator.cli.failures import summarise
from orchestrator.cli.inputs.input_set import InputSet, batched
from orchestrator.cli.observers import HostObservers
from orchestrator.cli.options import LogFormat, RunOptions
from orchestrator.cli.verbosity import log_level, quieter_progress
from orchestrator.config import Settings
from orchestrator.core.records import NewTask, PendingTask, TaskOutcome
from orchestrator.display.base import Display, PlainDisplay
from orchestrator.display.choice import choose_display
from orchestrator.display.failures import FailureWarnings
from orchestrator.integrations import detect
from orchestrator.integrations.slurm.job import read_job
from orchestrator.journal import Counts, DuplicateKeyError, Journal, RunRecord
from orchestrator.logging.output_files import OutputFiles
from orchestrator.logging.output_sinks import LogOutput, OutputSink
from orchestrator.logging.sinks import BufferedLog, TimedLog
from orchestrator.remote_exceptions import RemoteTraceback
from orchestrator.retries import renew
from orchestrator.run_result import RunResult
from orchestrator.run_session import RunSession
from runtime.errors import ExecutionInterrupted, QuiesceError, UsageError
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason
from runtime.statuses import Severity
from runtime.terminal import has_colour

REFRESH_SECONDS = 0.1
"""Seconds between two drawings of a live display."""

PROGRESS_SECONDS = 10.0
"""Seconds between two lines of progress."""

LOADING_SECONDS = 2.0
"""Seconds after which a slow import of the agent is logged; each next line comes after twice that time."""


class Runner:
    """One run of the command. Connects a session with its display and its log, and waits for its end."""

    def __init__(
        self,
        settings: Settings,
        run_id: str,
        options: RunOptions,
        observers: HostObservers,
        journal: Journal,
        record: RunRecord | None = None,
        command: CommandRun | None = None,
    ) -> None:
        self._log = BufferedLog()
        self._command = command
        for_people = options.log_format is LogFormat.CONSOLE
        interval = settings.progress_interval or PROGRESS_SECONDS
        mode = quieter_progress(options.progress)
        self.display: Display = choose_display(mode, run_id, self._log, interval, for_people=for_people)
        self.journal = journal
        self._observers = observers
        files = None if options.output is None else OutputFiles(options.output)
        log_output = LogOutput(self._log) if command is None else CommandLogOutput(self._log)
        outputs: list[OutputSink] = [log_output, *([] if files is None else [files])]
        self.session = RunSession(
            settings if command is None else command.session_settings, run_id, self._log, journal,
            observers=observers.all(self._guardian_pid), outputs=outputs, recorded=settings,
        )  # fmt: skip
        if files is not None:
            files.note = self.session.note
        self.session.while_stopped(self.display.cleared)
        self._warn = FailureWarnings(self._log)
        self.session.hub.on_outcomes = self._on_outcomes
        self.input_error: UsageError | None = None
        self.input_truncated = False
        """Whether the input is a stream that was not read to its end, now or when the run began."""
        self._options = options
        self._record = record

    def run(self, agent: str, begin: Callable[[], None], arguments: Mapping[str, Any]) -> EndedRun:
        """Run from the start to the end; `begin` begins or resumes the run once the agent is loaded.

        Raises UsageError when the run cannot begin; then no process and no thread of it is left.
        """
        outlive_stack_requests(self.session.settings.warning_signals)
        with self._observers.serving_probes(self.session.run_id, self._log):  # first: nothing has to end if it fails
            self.session.start()
            self._note_job()
            result = self._conduct(agent, begin, arguments)
        location, run_id = self.journal.location, self.session.run_id
        causes = summarise(location, run_id) if result.view.failed and result.error is None else ()
        return EndedRun(result, run_id, location, self.input_truncated, causes)

    def _conduct(self, agent: str, begin: Callable[[], None], arguments: Mapping[str, Any]) -> RunResult:
        session = self.session
        counts = None
        log = self._make_log()  # takes about as long as the guardian's start
        with self.display:
            try:
                source = agent_source(agent, arguments) if self._command is None else self._command.source
                _, loaded = session.register_agent(by_name=True, source=source)
                self._await_agent(_shown(agent), loaded.done, log)
                loaded.result()
                begin()
                self._begin_command()
                self._log.release(log)
                with suppress(QuiesceError):  # the run failed meanwhile: its result says why
                    session.start_tasks(self._draw)
            except ExecutionInterrupted:  # stopped before it began: the result says why
                counts = self._recorded_counts()
            except QuiesceError as error:
                self.input_error = error if isinstance(error, UsageError) else UsageError(str(error))
                self._log.discard()  # only the line of the error is of use
                session.cancel_start()
            self._log.release(log)
            self._draw_until_end()
            result = session.finish()
            if self._command is not None:
                self._command.finish(is_interrupted=result.signal is not None)
        if self.input_error is not None:
            self._show_traceback(_shown(agent), self.input_error, log)
            raise self.input_error
        if counts is not None:
            view = replace(result.view, accepted=counts.total, completed=counts.completed, failed=counts.failed)
            result = replace(result, view=view)
        return result

    def _on_outcomes(self, outcomes: Sequence[TaskOutcome]) -> None:
        self._warn(outcomes)
        if self._command is not None:
            self._command.on_outcomes(outcomes)

    def _begin_command(self) -> None:
        """Begin to print what commands write; those that ended in an earlier start have been printed."""
        if self._command is not None and self.session.run is not None:
            self._command.begin(self.session, self.journal.ended_tasks(self.session.run.id), self.display.cleared)

    def _note_job(self) -> None:
        """Log the job of Slurm that this process belongs to, if it does."""
        job = read_job(os.environ)
        if job is not None:
            fields = {"job": job.id, "restarts": job.restarts, "array_task": job.array_task}
            self.session.note("host.job", Severity.INFO, fields)

    def _show_traceback(self, agent: str, error: UsageError, log: TimedLog) -> None:
        """Show where an agent failed that cannot be loaded, if debug lines are wanted: its error is one line."""
        cause = error.__cause__
        if self._options.log_level is not Severity.DEBUG or not isinstance(cause, RemoteTraceback):
            return
        if self._options.log_format is LogFormat.JSON:
            log("agent.load_failed", Severity.DEBUG, {"agent": agent, "traceback": cause.text})
        else:
            print_error(cause.text.rstrip())

    def _await_agent(self, agent: str, is_loaded: Callable[[], bool], log: TimedLog) -> None:
        """Wait for the agent. Show a slow import in the display at once, and in the log at growing intervals.

        From the first such log line on, log lines are no longer held back: the output of the agent's modules may say
        what takes so long.
        """
        began, next_line = time.monotonic(), LOADING_SECONDS
        while not is_loaded() and not self.session.join(REFRESH_SECONDS):
            seconds = time.monotonic() - began
            self.display.show_loading(agent, seconds)
            if seconds >= next_line:
                self._log.release(log)
                log("agent.loading", Severity.INFO, {"agent": agent, "seconds": round(seconds)})
                next_line *= 2
        self.display.show_loading(agent, None)

    def _guardian_pid(self) -> int | None:
        return self.session.guardian

    def _recorded_counts(self) -> Counts | None:
        """Return the counts of a run that was to be resumed, if the session did not get that far."""
        if self._record is None or self.session.run is not None:
            return None
        return self.journal.counts(self._record.id)

    def _make_log(self) -> TimedLog:
        options = self._options
        given = options.log_level or log_level()
        level = given or (Severity.INFO if isinstance(self.display, PlainDisplay) else Severity.WARNING)
        return detect.log(
            self.session.run_id,
            self.display.sink,
            options.log_format.value,
            level,
            colors=has_colour(sys.stderr),
            output_level=given or Severity.DEBUG,
        )

    def _draw_until_end(self) -> None:
        """Draw the display until the run has ended."""
        while not self.session.join(REFRESH_SECONDS):
            self._draw()

    def _draw(self) -> None:
        self.display.update(self.session.status, self.session.progress, time.monotonic())

    # -- the beginning -------------------------------------------------------------------------------

    def begin_with_files(self, agent: dict[str, Any], inputs: InputSet) -> None:
        """Begin with all tasks of files. Every mistake in a file is found before any work begins."""

        def prepare(journal: Journal, run: int) -> None:
            try:
                for batch in batched(inputs.tasks()):
                    self.session.raise_if_interrupted()
                    journal.add_tasks(run, batch)
            except DuplicateKeyError as error:
                raise inputs.explain(error) from None
            journal.seal(run)

        self._require_new_run_id()
        self.session.begin_run(agent, prepare)

    def begin_with_stream(self, agent: dict[str, Any], inputs: InputSet) -> None:
        """Begin with the tasks of a stream: a thread reads them into the journal, so memory does not grow."""
        self._require_new_run_id()
        self.input_truncated = True
        reader = threading.Thread(target=self._feed, args=(inputs,), name="quiesce-input", daemon=True)

        def prepare(_journal: Journal, _run: int) -> None:
            """Start the reader, without which there is no run. The tasks that it reads wait for the journal thread."""
            try:
                reader.start()
            except RuntimeError as error:  # a limit, or a sandbox
                raise UsageError(f"cannot start a thread that reads {inputs.label}: {error}") from error

        self.session.begin_run(agent, prepare)

    def begin_retry(self, parent: RunRecord, agent: dict[str, Any], tasks: Iterable[PendingTask]) -> None:
        """Begin a run with tasks of another one, its parent."""

        def prepare(journal: Journal, run: int) -> None:
            for batch in batched(map(renew, tasks)):
                self.session.raise_if_interrupted()
                journal.add_tasks(run, batch)
            journal.seal(run)

        self._require_new_run_id()
        self.session.parent = parent.id
        self.session.labels = {**parent.labels, **self.session.labels}
        self.session.begin_run(agent, prepare)

    def resume(self, run: RunRecord, rest: Iterator[NewTask] | None = None) -> None:
        """Resume a run. `rest`: the tasks of its input that were not read before."""

        def complete(journal: Journal, number: int) -> None:
            if run.sealed:  # inputs that were added since
                journal.unseal(number)
            for batch in batched(rest or iter(())):
                self.session.raise_if_interrupted()
                journal.add_tasks(number, batch)
            journal.seal(number)

        self.session.resume_run(run, complete=None if rest is None else complete)
        if not run.sealed and rest is None:
            self.input_truncated = True
            self.session.seal()  # its input cannot be read any further

    def _require_new_run_id(self) -> None:
        existing = next((run for run in self.journal.runs() if run.run_id == self.session.run_id), None)
        if existing is not None:
            status_command = hints.command("status", existing.run_id, self.journal.location)
            command = status_command if existing.ended else hints.resumption(existing, self.journal.location)
            raise UsageError(
                f"there is a run {existing.run_id} already in {self.journal.location}: "
                f"{'to see it' if existing.ended else 'to resume it'}: {command}; or choose another id"
            )

    def _feed(self, inputs: InputSet) -> None:
        try:
            self.session.feed(inputs.batches())
            self.input_truncated = False
            self.session.seal()
        except UsageError as error:
            self.input_error = inputs.explain(error) if isinstance(error, DuplicateKeyError) else error
            self.session.interrupt(
                PlainSignal(reason=InterruptReason.CUSTOM, message=str(self.input_error), triggered_by="input")
            )
        except QuiesceError:
            pass  # the journal failed: the run ends by itself and says why


def _shown(agent: str) -> str:
    """Return an agent as people know it: with the path from the working directory."""
    try:
        return agent.removeprefix(os.path.join(os.getcwd(), ""))
    except OSError:  # the directory is gone
        return agent
