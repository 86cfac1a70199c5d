"""`quiesce run` and `quiesce resume`."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, NoReturn

import typer

from orchestrator.cli import options as given
from orchestrator.cli.exit import MESSAGE, exit_already_finished, exit_with_result
from orchestrator.cli.inputs import open_input, parse_lines
from orchestrator.cli.journals import open_for_command
from orchestrator.cli.observers import (
    PROBE_ADDRESS,
    ProbeAddressOption,
    ProbeHosting,
    ProbePortOption,
    TerminationOption,
)
from orchestrator.cli.runner import OutputOptions, Runner
from orchestrator.config import Settings
from orchestrator.core.records import NewTask
from orchestrator.core.settings import MaxFailures
from orchestrator.hints import resumption
from orchestrator.identity import Comparison, RunMismatchError, compare_in_order
from orchestrator.integrations import detect
from orchestrator.journal import DEFAULT_JOURNAL, Journal, RunRecord
from orchestrator.run_session import check_run_id, new_run_id
from runtime.errors import UsageError
from runtime.model import escape_surrogates


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
    priority_field: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where an input that is an object has its priority, a whole number."),
    ] = None,
    preempt: given.PreemptOption = False,
    workers: given.WorkersOption = None,
    concurrency: given.ConcurrencyOption = None,
    timeout: given.TimeoutOption = None,
    deadline: given.DeadlineOption = None,
    grace: given.GraceOption = None,
    term_grace: given.TermGraceOption = None,
    retries: given.RetriesOption = None,
    max_failures: given.MaxFailuresOption = None,
    memory_limit: given.MemoryOption = None,
    heartbeat_timeout: given.HeartbeatTimeoutOption = None,
    max_tasks_per_executor: given.RecycleAfterOption = None,
    max_memory_per_executor: given.RecycleAboveOption = None,
    keep_children: given.KeepOption = False,
    journal: given.JournalOption = None,
    journal_group: given.JournalGroupOption = False,
    host_grace: given.HostGraceOption = None,
    probe_port: ProbePortOption = None,
    probe_address: ProbeAddressOption = PROBE_ADDRESS,
    termination_message: TerminationOption = None,
    run_id: Annotated[str | None, typer.Option(help="A name for the run. (default: the time, and some chance)")] = None,
    or_resume: Annotated[
        bool,
        typer.Option("--or-resume", help="Go on with the run of --run-id if it exists; one that is over stays so."),
    ] = False,
    log_format: given.LogFormatOption = given.LogFormat.CONSOLE,
    log_level: given.LogLevelOption = None,
    progress: given.ProgressOption = given.ProgressMode.AUTO,
    as_json: given.JsonOption = False,
    interrupted_exit_code: given.ExitCodeOption = None,
) -> None:
    """Run an agent over a batch of inputs, in supervised processes.

    Ctrl-C, SIGTERM, SIGHUP or a limit stop it in good order; `quiesce resume` goes on where it ended.
    """
    values = dict(locals())
    MESSAGE.set_path(termination_message)
    if run_id is not None:
        check_run_id(run_id)
    is_file = source is not None and source != "-"
    if or_resume and (run_id is None or not is_file):
        raise UsageError("--or-resume needs --run-id ID and --input FILE: a stream cannot be read a second time")
    opened = open_for_command(journal_location(journal), group=journal_group) if or_resume else None
    found = None if opened is None else next((each for each in opened.runs() if each.run_id == run_id), None)
    settings = settings_of(values, (found and found.config) or {})
    look = _output_options(values)
    name = _absolute(agent)
    stream, label = _open(source)
    if opened is not None and found is not None:
        _resume_existing(settings, found, look, opened, name, (stream, label, priority_field))
    runner = Runner(
        settings,
        run_id or new_run_id(),
        look,
        opened or open_for_command(journal_location(journal), group=journal_group),
    )
    whole = is_file and stat.S_ISREG(os.fstat(stream.fileno()).st_mode)  # a FIFO is a stream too
    begin = Runner.begin_with_file if whole else Runner.begin_with_stream
    exit_with_result(runner.run(name, lambda it: begin(it, {"agent": name}, stream, label, priority_field)), look)


def resume(
    run_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN_ID]", help="The run, or a unique beginning of its id. (default: the latest that is not over)"
        ),
    ] = None,
    *,
    preempt: given.PreemptOption = False,
    workers: given.WorkersOption = None,
    concurrency: given.ConcurrencyOption = None,
    timeout: given.TimeoutOption = None,
    deadline: given.DeadlineOption = None,
    grace: given.GraceOption = None,
    term_grace: given.TermGraceOption = None,
    retries: given.RetriesOption = None,
    max_failures: given.MaxFailuresOption = None,
    memory_limit: given.MemoryOption = None,
    heartbeat_timeout: given.HeartbeatTimeoutOption = None,
    max_tasks_per_executor: given.RecycleAfterOption = None,
    max_memory_per_executor: given.RecycleAboveOption = None,
    keep_children: given.KeepOption = False,
    journal: given.JournalOption = None,
    host_grace: given.HostGraceOption = None,
    probe_port: ProbePortOption = None,
    probe_address: ProbeAddressOption = PROBE_ADDRESS,
    termination_message: TerminationOption = None,
    log_format: given.LogFormatOption = given.LogFormat.CONSOLE,
    log_level: given.LogLevelOption = None,
    progress: given.ProgressOption = given.ProgressMode.AUTO,
    as_json: given.JsonOption = False,
    interrupted_exit_code: given.ExitCodeOption = None,
) -> None:
    """Go on with an interrupted run: what is completed is kept, snapshots are handed back.

    The settings are those of the run, unless given anew.
    """
    values = dict(locals())
    MESSAGE.set_path(termination_message)
    opened = open_for_command(journal_location(journal), "write")
    found = opened.get_run(run_id) if run_id is not None else opened.latest_resumable()
    if found is None:
        raise UsageError(f"every run in {opened.location} is over: there is nothing to resume")
    settings = settings_of(values, found.config or {})
    name = _agent_of(found, opened)
    if found.cwd:
        _chdir(found.cwd)
    look = _output_options(values)
    exit_with_result(Runner(settings, found.run_id, look, opened, found).run(name, lambda it: it.take_up(found)), look)


def _resume_existing(
    settings: Settings,
    found: RunRecord,
    look: OutputOptions,
    journal: Journal,
    agent: str,
    source: tuple[BinaryIO, str, str | None],
) -> NoReturn:
    """`run --or-resume` with a run that exists: take it up where we are; one that is over stays so.

    Raises RunMismatchError, before anything is started, when it was begun with another agent or other inputs.
    """
    stream, label, priority_field = source
    advice = "give what it was begun with, or another --run-id"
    stored = _agent_of(found, journal)
    if stored != agent:
        raise RunMismatchError(f"run {found.run_id} was begun with the agent {stored}, not {agent}; {advice}")
    with stream:
        rest = parse_lines(stream, label, priority_field=priority_field)
        compare_file(found, journal, rest, label, advice)
        if found.ended:
            exit_already_finished(found, journal, look)
        runner = Runner(settings, found.run_id, look, journal, found)
        exit_with_result(runner.run(agent, lambda it: it.take_up(found, None if found.sealed else rest)), look)


def compare_file(run: RunRecord, journal: Journal, given: Iterator[NewTask], label: str, advice: str) -> None:
    """Compare a file with the inputs of a run. What the run does not have yet is left in `given`."""
    comparison = Comparison(
        run.run_id,
        may_decode=False,
        source=label,
        place=lambda seq: f"the task of {label}, line {seq},",
        advice=advice,
    )
    total = journal.counts(run.id).total
    compare_in_order(comparison, given, journal.tasks(run.id), total)
    more = next(given, None) if run.sealed else None
    if more is not None:
        comparison.refuse_new(more, more.seq, total)


def journal_location(journal: str | None) -> str:
    """The journal's place: the option, the environment, or the default."""
    return journal or os.environ.get("QUIESCE_JOURNAL") or DEFAULT_JOURNAL


def settings_of(values: dict[str, Any], before: dict[str, Any]) -> Settings:
    """The settings that were given, on top of those that a run has already. Raises UsageError."""
    names = Settings.model_fields.keys() - {"max_failures", "host_grace"}
    asked = {name: values[name] for name in names if values.get(name) is not None and values[name] is not False}
    if not isinstance(before, dict):  # it comes out of the journal
        raise UsageError("the settings of the run are damaged in the journal")
    chosen = {**before, **asked}
    granted = values.get("host_grace")
    granted = detect.granted_seconds() if granted is None else granted
    if granted is not None:
        chosen["host_grace"] = granted
    text = values.get("max_failures")
    if text is not None:
        chosen["max_failures"] = MaxFailures.parse(text, "--max-failures")
    return Settings.from_options(**chosen)


def _output_options(values: dict[str, Any]) -> OutputOptions:
    return OutputOptions(
        log_format=values["log_format"],
        log_level=values["log_level"],
        progress=values["progress"],
        as_json=values["as_json"],
        interrupted_exit_code=values["interrupted_exit_code"],
        hosting=ProbeHosting(values["probe_port"], values["probe_address"]),
    )


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
        path = os.path.realpath(source)
        if escape_surrogates(path) != path:
            raise UsageError(f"the agent's file {path!r} has no name in UTF-8: rename it, or the working directory")
        return f"{path}:{name}"
    return agent


def _agent_of(run: RunRecord, journal: Journal) -> str:
    name = run.agent.get("agent") if isinstance(run.agent, dict) else None
    if not isinstance(name, str):
        raise UsageError(f"run {run.run_id} was started from Python: to go on, {resumption(run, journal.location)}")
    return name


def _chdir(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise UsageError(f"the run's working directory {directory} cannot be entered: {error.strerror}") from None
