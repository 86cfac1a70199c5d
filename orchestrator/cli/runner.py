"""One run of the command: a session, a display, and the main thread between them."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

from orchestrator import hints
from orchestrator.cli.display import Display, LiveDisplay, choose_display
from orchestrator.cli.exit import outlive_stack_requests
from orchestrator.cli.inputs import batched, batches_of_stream, parse_file
from orchestrator.cli.observers import ProbeHosting
from orchestrator.cli.options import LogFormat, ProgressMode
from orchestrator.config import Settings
from orchestrator.core.records import NewTask
from orchestrator.integrations import detect
from orchestrator.journal import Counts, Journal, RunRecord
from orchestrator.logging.sinks import BufferedLog, TimedLog
from orchestrator.run_session import RunResult, RunSession
from runtime.errors import ExecutionInterrupted, QuiesceError, UsageError
from runtime.model import InterruptReason, InterruptSignal, Severity

REFRESH_SECONDS = 0.1
"""How often a live display is drawn."""


LOADING_SECONDS = 2.0
"""An agent that takes longer to load is named in the log then, and again after twice as long each time."""


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What the user wants to see, and how the process is to end."""

    log_format: LogFormat
    log_level: Severity | None
    progress: ProgressMode
    interrupted_exit_code: int | None
    as_json: bool
    hosting: ProbeHosting


class Runner:
    """One run of the command: a session, a display, and the main thread between them."""

    def __init__(
        self, settings: Settings, run_id: str, look: OutputOptions, journal: Journal, found: RunRecord | None = None
    ) -> None:
        self.display: Display = choose_display(look.progress.value, run_id)
        self._log = BufferedLog()
        self.journal = journal
        self._hosting = look.hosting
        observers = [*detect.detect_observers(), *look.hosting.observers(lambda: self.session.guardian)]
        self.session = RunSession(settings, run_id, self._log, journal, observers=observers)
        self.session.while_stopped(self.display.cleared)
        self.input_error: UsageError | None = None
        self.input_truncated = False
        """Whether the input is a stream that was not read to its end, now or when the run began."""
        self._look = look
        self._found = found

    def run(self, agent: str, begin: Callable[[Runner], None]) -> tuple[RunResult, Runner]:
        """From the start to the end. Raises UsageError when it cannot begin; then nothing is left."""
        outlive_stack_requests()
        with self._hosting.serving(self.session.run_id, self._log):  # first: if it fails, there is nothing to end
            self.session.start()
            return self._conduct(agent, begin)

    def _conduct(self, agent: str, begin: Callable[[Runner], None]) -> tuple[RunResult, Runner]:
        session = self.session
        known = None
        log = self._make_log()  # takes about as long as the guardian's start
        with self.display:
            try:
                _, loaded = session.register_agent(by_name=True, source=agent.encode())
                self._await_agent(agent, loaded.done, log)
                loaded.result()
                begin(self)
                self._log.release(log)
                with suppress(QuiesceError):  # the run broke meanwhile: the ending says why
                    session.start_tasks(self._draw)
            except ExecutionInterrupted:  # stopped before it began: the ending says why
                known = self._known()
            except QuiesceError as error:
                self.input_error = error if isinstance(error, UsageError) else UsageError(str(error))
                self._log.discard()  # the one line that matters is the problem
                session.cancel_start()
            self._log.release(log)
            self._show_while(lambda: False)
            ending = session.finish()
        if self.input_error is not None:
            raise self.input_error
        if known is not None:
            view = replace(ending.view, accepted=known.total, completed=known.completed, failed=known.failed)
            ending = replace(ending, view=view)
        return ending, self

    def _await_agent(self, agent: str, is_loaded: Callable[[], bool], log: TimedLog) -> None:
        """What takes long is told: to whoever looks at the display at once, in the log ever more rarely.

        Then nothing is held back any longer either: what its modules print may say what takes so long.
        """
        began, next_word = time.monotonic(), LOADING_SECONDS
        while not is_loaded() and not self.session.join(REFRESH_SECONDS):
            seconds = time.monotonic() - began
            self.display.show_loading(agent, seconds)
            if seconds >= next_word:
                self._log.release(log)
                log("agent.loading", Severity.INFO, {"agent": agent, "seconds": round(seconds)})
                next_word *= 2
        self.display.show_loading(agent, None)

    def _known(self) -> Counts | None:
        """How the run that was to be taken up stands: the session did not come to it."""
        return None if self._found is None or self.session.run is not None else self.journal.counts(self._found.id)

    def _make_log(self) -> TimedLog:
        look = self._look
        level = look.log_level or (Severity.WARNING if isinstance(self.display, LiveDisplay) else Severity.INFO)
        sink, colors = self.display.sink, sys.stderr.isatty()
        return detect.log(self.session.run_id, sink, look.log_format.value, level, colors=colors)

    def _show_while(self, is_done: Callable[[], bool]) -> None:
        """Draw until something is so, or the run has ended."""
        while not is_done() and not self.session.join(REFRESH_SECONDS):
            self._draw()

    def _draw(self) -> None:
        self.display.update(self.session.status, time.monotonic())

    # -- beginnings ---------------------------------------------------------------------------------

    def begin_with_file(
        self, agent: dict[str, Any], stream: BinaryIO, label: str, priority_field: str | None = None
    ) -> None:
        """All of the file or nothing: whatever is wrong with it is found before any work begins."""

        def prepare(journal: Journal, run: int) -> None:
            for batch in batched(parse_file(stream, label, priority_field)):
                self.session.raise_if_interrupted()
                journal.add_tasks(run, batch)
            journal.seal(run)

        with stream:
            self._require_new_run_id()
            self.session.begin_run(agent, prepare)

    def begin_with_stream(
        self, agent: dict[str, Any], stream: BinaryIO, label: str, priority_field: str | None = None
    ) -> None:
        """Tasks as they come: a thread reads, the journal keeps, memory stays flat."""
        self._require_new_run_id()
        self.input_truncated = True
        tasks = batches_of_stream(cast("io.BufferedIOBase", stream), label, priority_field)
        reader = threading.Thread(target=self._feed, args=(tasks, label), name="quiesce-input", daemon=True)

        def prepare(_journal: Journal, _run: int) -> None:
            """Without a reader there is no run. What it reads meanwhile waits for the journal's thread."""
            try:
                reader.start()
            except RuntimeError as error:  # a limit, or a sandbox
                raise UsageError(f"there is no thread to read {label} with: {error}") from error

        self.session.begin_run(agent, prepare)

    def take_up(self, run: RunRecord, rest: Iterator[NewTask] | None = None) -> None:
        """Go on with a run. `rest`: what its input has beyond what was read of it before."""

        def complete(journal: Journal, number: int) -> None:
            for batch in batched(rest or iter(())):
                self.session.raise_if_interrupted()
                journal.add_tasks(number, batch)
            journal.seal(number)

        self.session.resume_run(run, complete=None if rest is None else complete)
        if not run.sealed and rest is None:
            self.input_truncated = True
            self.session.seal()  # its input cannot be read any further

    def _require_new_run_id(self) -> None:
        found = next((run for run in self.journal.runs() if run.run_id == self.session.run_id), None)
        if found is not None:
            look = hints.command("status", found.run_id, self.journal.location)
            what = look if found.ended else hints.resumption(found, self.journal.location)
            raise UsageError(
                f"there is a run {found.run_id} already in {self.journal.location}: "
                f"{'to see it' if found.ended else 'to go on with it'}: {what}; or choose another id"
            )

    def _feed(self, tasks: Iterator[list[NewTask]], label: str) -> None:
        try:
            if not self.session.feed(tasks):
                raise UsageError(f"{label} has no tasks: it needs one JSON value a line")
            self.input_truncated = False
            self.session.seal()
        except UsageError as error:
            self.input_error = error
            self.session.interrupt(
                InterruptSignal(reason=InterruptReason.CUSTOM, message=str(error), triggered_by="input")
            )
        except QuiesceError:
            pass  # the journal failed: the run ends by itself and says why
