"""Run agents from Python: the Supervisor, sync and async."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

from orchestrator import lazy_imports
from orchestrator.backends import BackendFactory
from orchestrator.backends.local import LocalBackend
from orchestrator.config import Settings, SettingsOptions
from orchestrator.core.output import AgentOutput
from orchestrator.core.progress import Progress
from orchestrator.core.records import RunEvent
from orchestrator.core.status import StatusView
from orchestrator.display.watcher import ProgressCallback, ProgressView, make_view
from orchestrator.engine.hub import EventStream
from orchestrator.engine.signals import reraise
from orchestrator.feeding.task_feed import TaskFeed
from orchestrator.journal import open_journal
from orchestrator.labels import check_labels
from orchestrator.logging.output_files import OutputFiles
from orchestrator.logging.output_sinks import CallbackOutput, LogOutput, OutputSink, send_to_logging
from orchestrator.logging.sinks import BufferedLog, LogCallback
from orchestrator.retries import find_parent
from orchestrator.run_id import check_run_id, new_run_id
from orchestrator.run_result import RunResult, public_result, public_view
from orchestrator.run_session import RunSession
from orchestrator.setting_list import settings_from_options
from orchestrator.task_intake import TaskIntake
from runtime.errors import ExecutionInterrupted, QuiesceError, UsageError
from runtime.interrupt_signal import build_signal
from runtime.ipc.main_module import refuse_start_while_importing
from runtime.limits import LARGEST_SIZE, check_count, show_value
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason, escape_surrogates
from runtime.statuses import Severity
from runtime.stop_limits import CALLBACK_TIMEOUT


def _check_rest(
    journal: object, *, journal_group: object, handle_signals: object, log: object, on_output: object, output: object
) -> None:
    """Raise UsageError for an argument beside the settings that has a wrong type."""
    if not isinstance(journal, str | os.PathLike | None):
        raise UsageError(f"journal = {show_value(journal)}: give a path, or None")
    if not isinstance(output, str | os.PathLike | None) or output == "":
        raise UsageError(f"output = {show_value(output)}: give the path of a directory, or None")
    for name, flag in [("journal_group", journal_group), ("handle_signals", handle_signals)]:
        if not isinstance(flag, bool):
            raise UsageError(f"{name} = {show_value(flag)}: give True or False")
    if log is not None and not callable(log):
        raise UsageError(f"log = {show_value(log)}: give a callable log(event, severity, fields)")
    if on_output is not None and not callable(on_output):
        raise UsageError(f"on_output = {show_value(on_output)}: give a callable on_output(output)")


class Supervisor(TaskIntake):
    """Run agents over inputs in supervised processes, and stop properly.

        if __name__ == "__main__":  # executors import the script too
            with Supervisor(workers=4, journal="runs.db", grace=20) as supervisor:
                for outcome in supervisor.map(summarise, paths):
                    print(outcome.key, outcome.value if outcome.ok else outcome.error)

    Use it once, as a context manager, `with` or `async with`. One supervisor is one run. Leaving the block
    normally waits for every task that was handed in; leaving it by an exception interrupts them. Tasks can be handed in
    inside of the block only, from any thread. docs/library.md is the guide.

    journal: path of the journal; None keeps everything in memory.
    journal_group: a new journal is for its group too; else for its owner alone.
    run_id: the run to create, or to resume if the journal has it.
    retry_of: the run of the journal whose failed tasks this one retries (`failed_inputs`); it stays as it is.
    labels: words by name, by which `quiesce runs --label` finds a new run, besides those of the run that it retries.
    settings: workers, grace, timeout and the others of docs/settings.md, times in seconds and sizes in bytes. What is
    not given has its default: the environment and the configuration file are for the command line only.
    handle_signals: take SIGINT, SIGTERM and SIGHUP over while the block runs (main thread only). When it is left they
    are given back, and the one that stopped the run is raised again: the program ends as it would without a supervisor.
    log: where log events go.
    on_output: called with what agents print and log, on a thread of its own. By default that is events
    `executor.output` of `log` if there is one, else records of the logger `quiesce.agent` (docs/output.md).
    output: a directory, into which all that each task prints and logs is written, to a file of its own.
    progress: True shows how far the run is: live on a terminal and in a notebook, else by a line now and then; a
    callable gets a Progress every second, from a thread of its own (docs/progress.md).
    backend: what makes the place where executors run (default: this machine; a test: orchestrator.testing.FakeBackend).

    Raises UsageError for settings or a journal that cannot be used, TypeError for an unknown parameter.
    """

    def __init__(
        self,
        *,
        journal: str | os.PathLike[str] | None = None,
        journal_group: bool = False,
        run_id: str | None = None,
        retry_of: str | None = None,
        labels: Mapping[str, str] | None = None,
        handle_signals: bool = True,
        log: LogCallback | None = None,
        on_output: Callable[[AgentOutput], None] | None = None,
        output: str | os.PathLike[str] | None = None,
        progress: bool | ProgressCallback = False,
        backend: BackendFactory | None = None,
        **settings: Unpack[SettingsOptions],
    ) -> None:
        self._settings = settings_from_options(settings)
        self._run_id = new_run_id() if run_id is None else run_id
        check_run_id(self._run_id)
        _check_rest(
            journal, journal_group=journal_group, handle_signals=handle_signals, log=log, on_output=on_output,
            output=output,
        )  # fmt: skip
        if retry_of is not None and journal is None:
            raise UsageError(f"retry_of = {show_value(retry_of)}: give the journal that has this run")
        if not isinstance(progress, bool) and not callable(progress):
            raise UsageError(f"progress = {show_value(progress)}: give True, False, or a callable progress(Progress)")
        self._shows = progress
        self._view: ProgressView | None = None
        self._where, self._journal_group = journal, journal_group
        self._retry_of = retry_of
        self._labels = check_labels(labels)
        self._handle_signals = handle_signals
        self._log = log
        self._on_output = on_output
        self._output = output
        self._backend = backend or LocalBackend
        self._feed: TaskFeed | None = None
        self._ending: RunResult | None = None

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    def __repr__(self) -> str:
        if self._feed is None:
            return f"<Supervisor run_id={self.run_id!r} not entered>"
        if self._ending is not None:
            return f"<Supervisor run_id={self.run_id!r} {self._ending.status}>"
        view = self.status
        return f"<Supervisor run_id={self.run_id!r} {view.phase}: {view.finished} of {view.accepted} tasks>"

    @property
    def run_id(self) -> str:
        """The id of the run: as given, or made of the time and a random suffix. It names the run in the journal."""
        return self._run_id

    @property
    def settings(self) -> Settings:
        """The settings of the run, with the defaults of those that were not given. Seconds and bytes; read-only."""
        return self._settings

    @property
    def ending(self) -> RunResult | None:
        """How the run ended: its status, signal, error and last counts. None until the block is left."""
        if self._ending is not None:
            self._ending = public_result(self._ending)
        return self._ending

    # -- the block ----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._feed is not None:
            raise QuiesceError("a Supervisor is used once; make another one")
        refuse_start_while_importing()
        outputs = self._outputs()
        journal = None if self._where is None else open_journal(self._where, group=self._journal_group)
        parent = None if journal is None or self._retry_of is None else find_parent(journal, self._retry_of)
        held = BufferedLog()
        log = self._log or held
        session = RunSession(
            self._settings, self._run_id, log, journal, handle_signals=self._handle_signals, backend=self._backend,
            outputs=outputs,
        )  # fmt: skip
        session.labels = self._labels
        if parent is not None:
            session.parent, session.labels = parent.id, {**parent.labels, **self._labels}
        self._feed = TaskFeed(session)
        session.start()
        try:
            self._view = make_view(self._shows, self.run_id, self._log, self.settings.progress_interval)
            if self._log is None:
                held.release(lazy_imports.default_log(None if self._view is None else self._view.sink))
            if self._view is not None:
                session.hub.on_outcomes = self._view.begin(session, log)
        except BaseException as error:  # a Ctrl-C of the program's own: a block that was not entered is not left
            self._on_block_exit(error)
            self._finish_session()
            raise
        return self

    def _outputs(self) -> list[OutputSink]:
        """Return where agents' output goes. Raises UsageError for a directory that cannot be made."""

        def note(name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
            self._require_session().note(name, severity, fields)

        shown: OutputSink = CallbackOutput(self._on_output or send_to_logging, note)
        if self._on_output is None and self._log is not None:
            shown = LogOutput(self._log)
        if self._output is None:
            return [shown]
        files = OutputFiles(os.fspath(self._output))
        files.note = note
        return [shown, files]

    def _finish_session(self) -> RunResult:
        """Wait for the end of the run, and of what shows it."""
        try:
            return self._require_session().finish()
        finally:
            if self._view is not None:
                self._view.end()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_forked:
            return
        self._on_block_exit(error)
        while True:
            try:
                self._require_session().join()
                break
            except BaseException as interruption:  # noqa: BLE001 - a Ctrl-C of the program's own: as if it had left the block
                error = error or interruption
                self._on_block_exit(interruption)
        self._ending = ending = self._finish_session()
        self._require_feed().callbacks.flush(_callback_timeout(ending))
        self._raise_end(ending, error, was_there=kind is not None)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_forked:
            return
        self._on_block_exit(error)
        has_loop = True
        while True:
            try:
                if await lazy_imports.asyncio().to_thread(self._require_session().join, 3600.0):
                    break
            except lazy_imports.asyncio().CancelledError as interruption:  # as if that had left the block
                error = error or interruption
                self._on_block_exit(interruption)
            except BaseException as interruption:  # noqa: BLE001 - the event loop is over: nothing runs this coroutine
                error, has_loop = error or interruption, False
                self._on_block_exit(interruption)
                self._require_session().join()
                break
        self._ending = ending = self._finish_session()
        flush = partial(self._require_feed().callbacks.flush, _callback_timeout(ending))
        if has_loop:
            await lazy_imports.asyncio().to_thread(flush)
        else:
            flush()
        self._raise_end(ending, error, was_there=kind is not None)

    def _on_block_exit(self, error: BaseException | None) -> None:
        session = self._require_session()
        if error is None:
            session.seal()
        elif not isinstance(error, ExecutionInterrupted):
            session.interrupt(
                PlainSignal(
                    reason=InterruptReason.CUSTOM,
                    message=f"the block was left by {type(error).__name__}",
                    triggered_by="supervisor",
                )
            )
        else:
            session.interrupt(error.plain_signal)

    def _raise_end(self, ending: RunResult, error: BaseException | None, *, was_there: bool) -> None:
        """Raise the signal again that stopped the run, or the error: all is recorded and released.

        `was_there`: the error left the block, and goes on by itself. Else it came while the end was waited for.
        """
        if ending.signal_name is not None:
            reraise(ending.signal_name)
        if error is not None and not was_there:
            raise error
        if ending.error is not None and error is None:
            raise QuiesceError(ending.error)

    @property
    def _is_forked(self) -> bool:
        return self._feed is not None and self._feed.is_forked

    def _require_feed(self) -> TaskFeed:
        if self._feed is None:
            raise QuiesceError("a Supervisor works inside its block: `with Supervisor(...) as supervisor:`")
        return self._feed

    def _require_session(self) -> RunSession:
        return self._require_feed().session

    # -- the run --------------------------------------------------------------------------------------

    def interrupt(
        self,
        reason: InterruptReason = InterruptReason.USER_CANCELLED,
        message: str = "",
        triggered_by: str = "api",
        *,
        key: str | None = None,
    ) -> None:
        """Stop the run, or the one task with this key. Returns at once; from any thread.

        `reason`, `message` and `triggered_by` are what agents, outcomes and logs are shown. The tasks get their grace
        (docs/stopping.md) and have the status `interrupted` then: the run's next start executes them again. A
        caller that waits for outcomes gets ExecutionInterrupted. A key of no task, or of one that has ended, has no
        effect.

        Like `ExecutionState.request_interrupt` it never fails because of its reason, message or trigger. Raises
        UsageError for a key that is no string, QuiesceError outside of the block.
        """
        signal = build_signal(reason, message, triggered_by)
        if key is not None and not isinstance(key, str):
            raise UsageError(f"a key must be a string, not {key!r}")
        self._require_session().interrupt(signal, None if key is None else escape_surrogates(key))

    def events(self, limit: int = 10_000, *, from_seq: int | None = None) -> EventStream:
        """Return the run's events from now on, an iterator that ends with the run. At most `limit` wait to be read.

        `from_seq`: those from this number on (the first is 1) come first, out of the journal, and none twice. So a
        reader that lost its place goes on where it was.

        Any number of readers may read, each in one thread; one that is slow loses the oldest (`stream.dropped` counts
        them) and delays no other. Raises UsageError for `from_seq` without a journal, ValueError for a number that
        is below 1 or none, QuiesceError outside of the block.
        """
        check_count("from_seq", from_seq, most=LARGEST_SIZE)
        hub = self._require_session().hub
        if from_seq is None:
            return hub.subscribe(limit)
        if self._where is None:
            raise UsageError("events can be read again only from a journal, and this supervisor has none")
        return hub.subscribe(limit, self._replay_events(self._where, from_seq))

    def _replay_events(self, where: str | os.PathLike[str], from_seq: int) -> Iterator[RunEvent]:
        """Read past events by a connection of their own, in the thread that iterates."""
        with open_journal(where, "read") as journal:
            run = next((run for run in journal.runs() if run.run_id == self.run_id), None)
            if run is not None:
                yield from journal.events(run.id, from_seq)

    @property
    def status(self) -> StatusView:
        """The run as it stands: renewed a few times a second, and at once when its phase, signal or error changes.

        Counts of tasks, and for each executor its process and its tasks; after the end, how it was last. Times are
        monotonic seconds. Raises QuiesceError before the block.
        """
        return public_view(self._require_session().status)

    @property
    def progress(self) -> Progress:
        """How far the run is now: its counts, rate and estimate, and what every executor does.

        Raises QuiesceError before the block.
        """
        return self._require_session().progress


def _callback_timeout(ending: RunResult) -> float | None:
    """Return how long the end of a block waits for done-callbacks: without a limit, unless the run was stopped."""
    return None if ending.signal is None else CALLBACK_TIMEOUT
