"""What Runner needs to know of a run of commands: its settings, its agent, where its files are, and what is printed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from orchestrator.cli.commands import folders
from orchestrator.cli.commands.halting import HaltWatch
from orchestrator.cli.commands.joblog import JobLog
from orchestrator.cli.commands.options import CommandOutputOptions
from orchestrator.cli.commands.printer import CommandPrinter
from orchestrator.config import Settings
from orchestrator.core.command_settings import most_running
from orchestrator.core.output import AgentOutput
from orchestrator.core.records import TaskOutcome
from orchestrator.core.settings import LONGEST_TIMEOUT_GRACE
from orchestrator.cpus import usable_cpus
from orchestrator.logging.output_sinks import LogOutput
from orchestrator.run_session import RunSession
from runtime.command.signal_names import signal_number
from runtime.command.spec import COMMAND_AGENT, CommandSetup, CommandSpec, encode
from runtime.errors import UsageError
from runtime.stop_limits import OUTPUT_TIMEOUT

FOR_GOOD: Final = "CommandFailedForGood"
"""The name of the error of a command that is not tried again (runtime/command/record.py)."""


class CommandRun:
    """One start of a run of commands. Raises UsageError for settings that cannot be used."""

    def __init__(
        self, spec: CommandSpec, output: CommandOutputOptions, settings: Settings, run_id: str, journal: str
    ) -> None:
        self._spec = spec
        self._settings = settings
        self._place = journal, run_id
        self._folder = folders.run_folder(journal, run_id)
        self._results = None if output.results is None else os.path.abspath(output.results)
        self._stop_signal = _signal(settings.stop_signal)
        self._halt = HaltWatch(settings.halt)
        self._around: Callable[[], AbstractContextManager[object]] = nullcontext
        if settings.retry_codes is not None and not settings.retries:
            raise UsageError("--retry-codes says what --retries tries again: give --retries N, too")
        if self._results is not None:
            try:
                os.makedirs(self._results, exist_ok=True)
            except OSError as error:
                reason = error.strerror or error
                raise UsageError(f"--results {output.results}: the folder cannot be made: {reason}") from None
        self._is_printing = self._results is None
        self._printer = CommandPrinter(
            is_printing=self._is_printing,
            keep_order=output.keep_order,
            tag=output.tag,
            joblog=None if output.joblog is None else JobLog(output.joblog),
            around=self._make_room,
        )

    def _make_room(self) -> AbstractContextManager[object]:
        return self._around()

    @property
    def session_settings(self) -> Settings:
        """Return the settings of the session: one executor holds all commands, and their time limit is its business."""
        settings = self._settings
        unwanted = (*(settings.no_retry_on or ()), FOR_GOOD)
        changes: dict[str, Any] = {
            "workers": 1, "concurrency": settings.workers, "timeout": None, "slot_env": {}, "no_retry_on": unwanted,
        }  # fmt: skip
        return settings.model_copy(update=changes)

    @property
    def source(self) -> bytes:
        """Return what the executor loads."""
        return COMMAND_AGENT.encode() + b"\0" + encode(self._spec, self._setup())

    def _setup(self) -> CommandSetup:
        settings, ladder = self._settings, self._settings.ladder
        timeout_grace = settings.timeout_grace
        return CommandSetup(
            folder=self._folder,
            workers=settings.workers,
            results=self._results,
            printed=self._is_printing,
            stop_signal=self._stop_signal,
            grace=ladder.grace,
            term_grace=ladder.term_grace,
            timeout=settings.timeout,
            timeout_grace=min(ladder.grace, LONGEST_TIMEOUT_GRACE) if timeout_grace is None else timeout_grace,
            delay=settings.delay,
            load=None if settings.load is None else most_running(settings.load, usable_cpus()),
            memfree=settings.memfree,
            ok_codes=settings.ok_codes,
            retry_codes=settings.retry_codes,
            slot_env={name: list(map(str, values)) for name, values in settings.slot_env.items()},
            tail=settings.output_tail,
            keep_children=settings.keep_children,
            container_undo=settings.container_undo,
        )

    # -- the life of the run ------------------------------------------------------------------------

    def begin(
        self, session: RunSession, ended: Collection[int], around: Callable[[], AbstractContextManager[object]]
    ) -> None:
        """Begin to print. `ended`: the tasks of earlier starts. `around`: makes room on the terminal."""
        self._around = around
        self._halt.begin(session)
        self._printer.start(ended)

    def on_outcomes(self, outcomes: Sequence[TaskOutcome]) -> None:
        """Take outcomes that have just been committed. Never waits."""
        self._printer.put(outcomes)
        self._halt.count(outcomes)

    def finish(self, *, is_interrupted: bool) -> None:
        """Print what is left, and remove the files that are of no use any more. Snapshots stay."""
        self._printer.finish(OUTPUT_TIMEOUT if is_interrupted else None)
        for name in ("stops", "output"):
            shutil.rmtree(os.path.join(self._folder, name), ignore_errors=True)
        folders.remove_if_empty(*self._place)


class CommandLogOutput(LogOutput):
    """Log what the executor itself writes. What commands write is printed, and the journal has the end of it."""

    def __call__(self, output: AgentOutput) -> None:
        """Log one line that is no task's."""
        if not output.task:
            super().__call__(output)


def _signal(name: str) -> int:
    try:
        return signal_number(name)
    except ValueError as error:
        raise UsageError(f"stop_signal = {name}: {error}") from None
