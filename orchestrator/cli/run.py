"""`quiesce run` and `quiesce resume`."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NoReturn

import typer

from orchestrator.cli.ending import MESSAGE, end, leave_over
from orchestrator.cli.hosting import PROBE_ADDRESS, Hosting, ProbeAddressOption, ProbePortOption, TerminationOption
from orchestrator.cli.options import JournalOption, seconds, size
from orchestrator.config import MaxFailures, Settings
from orchestrator.console import Display, LiveDisplay, choose_display
from orchestrator.hosts import here
from orchestrator.journal import DEFAULT_JOURNAL, Journal, RunRecord, open_journal
from orchestrator.log import HeldLog
from orchestrator.session import Ending, Session, new_run_id
from orchestrator.source import batches, open_input, parse
from runtime.errors import ExecutionInterrupted, QuiesceError, UsageError
from runtime.model import InterruptReason, InterruptSignal, Severity

REFRESH_SECONDS = 0.1
"""How often a live display is drawn."""


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class ProgressMode(StrEnum):
    """Whether there is a live display."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Look:
    """What the user wants to see, and how the process is to end."""

    log_format: LogFormat
    log_level: Severity | None
    progress: ProgressMode
    interrupted_exit_code: int | None
    hosting: Hosting


WorkersOption = Annotated[
    int | None, typer.Option("--workers", "-w", min=1, help="Executor processes (default: one a core).")
]
ConcurrencyOption = Annotated[
    int | None, typer.Option(min=1, help="Tasks of an async agent that each executor runs at once.")
]
TimeoutOption = Annotated[
    float | None, typer.Option(parser=seconds, metavar="S", help="Seconds that one task may take.")
]
DeadlineOption = Annotated[
    float | None, typer.Option(parser=seconds, metavar="S", help="Seconds that the whole run may take.")
]
GraceOption = Annotated[
    float | None,
    typer.Option(parser=seconds, metavar="S", help="Seconds between the interrupt flag and SIGTERM. [default: 10]"),
]
TermGraceOption = Annotated[
    float | None, typer.Option(parser=seconds, metavar="S", help="Seconds between SIGTERM and SIGKILL. [default: 5]")
]
RetriesOption = Annotated[int | None, typer.Option(min=0, help="How often a failed task is tried again.")]
MaxFailuresOption = Annotated[
    str | None, typer.Option(metavar="N|P%", help="Stop when more tasks than this have failed.")
]
MemoryOption = Annotated[
    int | None,
    typer.Option(
        parser=size, metavar="SIZE", help="Memory that an executor and its children may use, like 500M or 2G."
    ),
]
LogFormatOption = Annotated[LogFormat, typer.Option(help="Log lines for people or for machines.")]
LogLevelOption = Annotated[
    Severity | None, typer.Option(help="The least severe lines to show. [default: info; warning under a live display]")
]
ProgressOption = Annotated[
    ProgressMode, typer.Option(help="A live display on standard error; auto: if that is a terminal.")
]
ExitCodeOption = Annotated[
    int | None,
    typer.Option(min=0, max=255, help="Exit with this code when interrupted, instead of dying by the signal, or 75."),
]
KeepOption = Annotated[
    bool, typer.Option("--keep-children", help="Do not end the processes that an executor leaves behind.")
]
HostGraceOption = Annotated[
    float | None,
    typer.Option(
        parser=seconds,
        metavar="S",
        envvar="QUIESCE_HOST_GRACE",
        help="Seconds between the host's SIGTERM and SIGKILL; the graces shrink to fit. [default: systemd is asked]",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the two commands."""
    app.command()(run)
    app.command()(resume)


def run(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="package.module:name or path/to/file.py:name")],
    *,
    source: Annotated[
        str | None,
        typer.Option("--input", "-i", metavar="FILE|-", help="JSON Lines, one task a line; - is standard input."),
    ] = None,
    workers: WorkersOption = None,
    concurrency: ConcurrencyOption = None,
    timeout: TimeoutOption = None,
    deadline: DeadlineOption = None,
    grace: GraceOption = None,
    term_grace: TermGraceOption = None,
    retries: RetriesOption = None,
    max_failures: MaxFailuresOption = None,
    memory_limit: MemoryOption = None,
    keep_children: KeepOption = False,
    journal: JournalOption = None,
    host_grace: HostGraceOption = None,
    probe_port: ProbePortOption = None,
    probe_address: ProbeAddressOption = PROBE_ADDRESS,
    termination_message: TerminationOption = None,
    run_id: Annotated[str | None, typer.Option(help="A name for the run. [default: the time, and some chance]")] = None,
    or_resume: Annotated[
        bool, typer.Option("--or-resume", help="Go on with the run of --run-id if it exists; if it is over, say so.")
    ] = False,
    log_format: LogFormatOption = LogFormat.CONSOLE,
    log_level: LogLevelOption = None,
    progress: ProgressOption = ProgressMode.AUTO,
    interrupted_exit_code: ExitCodeOption = None,
) -> None:
    """Run an agent over a batch of inputs, in supervised processes.

    Ctrl-C, SIGTERM, SIGHUP or a limit stop it in good order; `quiesce resume` goes on where it ended.
    """
    MESSAGE.choose(termination_message)
    is_file = source is not None and source != "-"
    if or_resume and (run_id is None or not is_file):
        raise UsageError("--or-resume needs --run-id ID and --input FILE: a stream cannot be read a second time")
    opened = open_journal(where(journal)) if or_resume else None
    found = None if opened is None else next((each for each in opened.runs() if each.run_id == run_id), None)
    settings = _settings(
        (found and found.config) or {}, workers, concurrency, timeout, deadline, grace, term_grace, retries,
        max_failures, memory_limit, keep_children, host_grace,
    )  # fmt: skip
    look = Look(log_format, log_level, progress, interrupted_exit_code, Hosting(probe_port, probe_address))
    name = _absolute(agent)
    if opened is not None and found is not None:
        _go_on(settings, found, look, opened, name)
    stream, label = _open(source)
    runner = _Runner(settings, run_id or new_run_id(), look, opened or open_journal(where(journal)))
    if is_file and stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        end(runner.go(name, lambda it: it.begin_with_file({"agent": name}, stream, label)), look.interrupted_exit_code)
    else:
        end(
            runner.go(name, lambda it: it.begin_with_stream({"agent": name}, stream, label)), look.interrupted_exit_code
        )


def resume(
    run_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN_ID]", help="The run, or a unique beginning of its id. [default: the latest that is not over]"
        ),
    ] = None,
    *,
    workers: WorkersOption = None,
    concurrency: ConcurrencyOption = None,
    timeout: TimeoutOption = None,
    deadline: DeadlineOption = None,
    grace: GraceOption = None,
    term_grace: TermGraceOption = None,
    retries: RetriesOption = None,
    max_failures: MaxFailuresOption = None,
    memory_limit: MemoryOption = None,
    keep_children: KeepOption = False,
    journal: JournalOption = None,
    host_grace: HostGraceOption = None,
    probe_port: ProbePortOption = None,
    probe_address: ProbeAddressOption = PROBE_ADDRESS,
    termination_message: TerminationOption = None,
    log_format: LogFormatOption = LogFormat.CONSOLE,
    log_level: LogLevelOption = None,
    progress: ProgressOption = ProgressMode.AUTO,
    interrupted_exit_code: ExitCodeOption = None,
) -> None:
    """Go on with an interrupted run: what is completed is kept, snapshots are handed back.

    The settings are those of the run, unless given anew.
    """
    MESSAGE.choose(termination_message)
    opened = open_journal(where(journal), "write")
    found = opened.get_run(run_id) if run_id is not None else opened.latest_resumable()
    if found is None:
        raise UsageError(f"every run in {opened.location} is over: there is nothing to resume")
    settings = _settings(
        found.config or {}, workers, concurrency, timeout, deadline, grace, term_grace, retries, max_failures,
        memory_limit, keep_children, host_grace,
    )  # fmt: skip
    name = _agent_of(found)
    if found.cwd:
        _enter(found.cwd)
    look = Look(log_format, log_level, progress, interrupted_exit_code, Hosting(probe_port, probe_address))
    end(
        _Runner(settings, found.run_id, look, opened).go(name, lambda it: it.take_up(found)), look.interrupted_exit_code
    )


def _go_on(settings: Settings, found: RunRecord, look: Look, journal: Journal, agent: str) -> NoReturn:
    """`run --or-resume` with a run that exists: take it up where we are; one that is over stays so."""
    if found.ended:
        leave_over(found, journal)
    end(
        _Runner(settings, found.run_id, look, journal).go(agent, lambda it: it.take_up(found)),
        look.interrupted_exit_code,
    )


def where(journal: str | None) -> str:
    """The journal's place: the option, the environment, or the default."""
    return journal or os.environ.get("QUIESCE_JOURNAL") or DEFAULT_JOURNAL


class _Runner:
    """One run of the command: a session, a display, and the main thread between them."""

    def __init__(self, settings: Settings, run_id: str, look: Look, journal: Journal) -> None:
        self.display: Display = choose_display(look.progress.value, run_id)
        live = isinstance(self.display, LiveDisplay)
        level = look.log_level or (Severity.WARNING if live else Severity.INFO)
        self._log = HeldLog(
            here.log(run_id, self.display.sink, look.log_format.value, level, colors=sys.stderr.isatty())
        )
        self.journal = journal
        self._hosting = look.hosting
        observers = [*here.observers(), *look.hosting.observers(lambda: self.session.guardian)]
        self.session = Session(settings, run_id, self._log, journal, observers=observers)
        self.problem: UsageError | None = None
        self._live = live

    def go(self, agent: str, begin: Callable[[_Runner], None]) -> tuple[Ending, _Runner]:
        """From the start to the end. Raises UsageError when it cannot begin; then nothing is left."""
        session = self.session
        session.start()
        with self._hosting.offered(session.run_id, self._log), self.display:
            try:
                _, loaded = session.hire(by_name=True, source=agent.encode())
                self._show_while(loaded.done)
                loaded.result()
                begin(self)
            except ExecutionInterrupted:
                pass  # stopped before it began: the ending says why
            except QuiesceError as error:
                self.problem = error if isinstance(error, UsageError) else UsageError(str(error))
                self._log.discard()  # the one line that matters is the problem
                session.give_up()
            self._log.release()
            self._show_while(lambda: False)
            ending = session.finish()
        if self.problem is not None:
            raise self.problem
        return ending, self

    def _show_while(self, is_done: Callable[[], bool]) -> None:
        """Draw until something is so, or the run has ended."""
        while not is_done() and not self.session.join(REFRESH_SECONDS):
            self.display.update(self.session.status, time.monotonic())

    # -- beginnings ---------------------------------------------------------------------------------

    def begin_with_file(self, agent: dict[str, Any], stream: BinaryIO, label: str) -> None:
        """All of the file or nothing: whatever is wrong with it is found before any work begins."""

        def prepare(journal: Journal, run: int) -> None:
            empty = True
            for batch in batches(parse(stream, label)):
                self.session.raise_if_interrupted()
                journal.add_tasks(run, batch)
                empty = False
            if empty:
                raise UsageError(f"the input {label} has no tasks: it needs one JSON value a line")
            journal.seal(run)

        with stream:
            self._refuse_known()
            self.session.begin_run(agent, prepare)

    def begin_with_stream(self, agent: dict[str, Any], stream: BinaryIO, label: str) -> None:
        """Tasks as they come: a thread reads, the journal keeps, memory stays flat."""
        self._refuse_known()
        self.session.begin_run(agent)
        threading.Thread(target=self._feed, args=(stream, label), name="quiesce-input", daemon=True).start()

    def take_up(self, run: RunRecord) -> None:
        """Go on with a run."""
        self.session.take_up(run)
        if not run.sealed:
            self.session.seal()  # its input cannot be read any further

    def _refuse_known(self) -> None:
        if any(run.run_id == self.session.run_id for run in self.journal.runs()):
            raise UsageError(
                f"there is a run {self.session.run_id} already in {self.journal.location}: "
                "resume it, or choose another id"
            )

    def _feed(self, stream: BinaryIO, label: str) -> None:
        try:
            if not self.session.feed(batches(parse(_lines(stream), label))):
                raise UsageError(f"{label} has no tasks: it needs one JSON value a line")
            self.session.seal()
        except UsageError as error:
            self.problem = error
            self.session.interrupt(
                InterruptSignal(reason=InterruptReason.CUSTOM, message=str(error), triggered_by="input")
            )
        except QuiesceError:
            pass  # the journal failed: the run ends by itself and says why


def _lines(stream: BinaryIO) -> Any:
    """Lines as they arrive: iteration over a buffered file would wait for a full buffer."""
    return iter(stream.readline, b"")


def _settings(
    before: dict[str, Any],
    workers: int | None,
    concurrency: int | None,
    timeout: float | None,
    deadline: float | None,
    grace: float | None,
    term_grace: float | None,
    retries: int | None,
    max_failures: str | None,
    memory_limit: int | None,
    keep_children: bool,
    host_grace: float | None,
) -> Settings:
    given = {
        "workers": workers, "concurrency": concurrency, "timeout": timeout, "deadline": deadline, "grace": grace,
        "term_grace": term_grace, "retries": retries, "memory_limit": memory_limit,
        "keep_children": keep_children or None,
        "host_grace": here.granted_seconds() if host_grace is None else host_grace,
    }  # fmt: skip
    chosen = {**before, **{name: value for name, value in given.items() if value is not None}}
    if max_failures is not None:
        try:
            chosen["max_failures"] = MaxFailures.parse(max_failures)
        except ValueError:
            raise UsageError(f"--max-failures {max_failures!r} is neither a count nor a percentage like 10%") from None
    return Settings.of(**chosen)


def _open(source: str | None) -> tuple[BinaryIO, str]:
    if source is None and sys.stdin.isatty():
        raise UsageError("there is no input: give --input FILE, or --input - for standard input")
    if source is None or source == "-":
        return sys.stdin.buffer, "standard input"
    return open_input(source), source


def _absolute(agent: str) -> str:
    """A file's path made absolute, so that it means the same in the executors and on resume."""
    source, separator, name = agent.rpartition(":")
    if separator and (source.endswith(".py") or os.sep in source):
        return f"{Path(source).resolve()}:{name}"
    return agent


def _agent_of(run: RunRecord) -> str:
    name = run.agent.get("agent") if isinstance(run.agent, dict) else None
    if not isinstance(name, str):
        raise UsageError(
            f"run {run.run_id} was started from Python: "
            f"go on with it there, by Supervisor(run_id={run.run_id!r}, journal=…)"
        )
    return name


def _enter(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise UsageError(f"the run's working directory {directory} cannot be entered: {error.strerror}") from None
