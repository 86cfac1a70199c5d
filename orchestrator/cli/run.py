"""`quiesce run` and `quiesce resume`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec

from orchestrator.cli.arguments import (
    ArgOption,
    ConfigOption,
    arguments_of,
    check_arguments,
    describe_agent,
    read_arguments,
)
from orchestrator.cli.commands.command_run import CommandRun
from orchestrator.cli.commands.options import CommandOptions, CommandOutputOptions, refuse_without_command
from orchestrator.cli.commands.parsing import CommandWordsGiven, dashed_run_id, given_command
from orchestrator.cli.commands.resuming import check_command, new_tasks, recorded_spec
from orchestrator.cli.commands.starting import (
    open_command_inputs,
    print_commands,
    read_spec,
    refuse_command_settings,
)
from orchestrator.cli.declare import Argument, Context, Option
from orchestrator.cli.exit import ExitOptions, errors_in_message, exit_already_finished, exit_with_result
from orchestrator.cli.inputs.formats import InputFormat
from orchestrator.cli.inputs.input_set import InputSet, open_inputs
from orchestrator.cli.inputs.input_sources import STREAM
from orchestrator.cli.inputs.naming import TaskFields
from orchestrator.cli.journals import open_for_command
from orchestrator.cli.labels import parse_labels
from orchestrator.cli.observers import HostObservers
from orchestrator.cli.options import RunOptions, expand
from orchestrator.cli.runner import Runner
from orchestrator.cli.setting_sources import combine, warn_of_unknown_variables
from orchestrator.config import Settings
from orchestrator.config_file import choose_journal
from orchestrator.core.records import NewTask
from orchestrator.hints import resumption
from orchestrator.identity import Comparison, RunMismatchError, compare_in_order
from orchestrator.integrations import detect
from orchestrator.integrations.kubernetes.termination import TerminationMessage
from orchestrator.journal import Journal, RunRecord
from orchestrator.run_id import check_run_id, new_run_id
from runtime.command.spec import COMMAND_AGENT, CommandSpec, to_arguments
from runtime.errors import UsageError
from runtime.reasons import escape_surrogates

if TYPE_CHECKING:
    from orchestrator.cli.typer_app import App

_OTHER_RUN = "give what it was begun with, or another --run-id"


def register(app: App) -> None:
    """Add the two commands to an app."""
    app.command(takes_command=True)(run)
    app.command(takes_command=True)(resume)


@expand
def run(
    context: Context,
    agent: Annotated[
        str | None,
        Argument(
            metavar="AGENT",
            help="package.module:name or path/to/file.py:name; or none, and a command behind -- (docs/commands.md)",
        ),
    ] = None,
    *,
    sources: Annotated[
        list[str] | None,
        Option(
            "--input",
            "-i",
            metavar="FILE|FOLDER|PATTERN|-",
            help="JSON Lines, JSON, CSV, TSV, text or Parquet, one task a line, element or row; or files, each a task;"
            " - is standard input. May be given more than once.",
        ),
    ] = None,
    input_format: Annotated[
        InputFormat | None, Option(help="How inputs are read. (default: by the extension, else jsonl)")
    ] = None,
    key_field: Annotated[
        str | None,
        Option(metavar="NAME", help='The field whose value is the key of a task. (default: "key", if it exists)'),
    ] = None,
    priority_field: Annotated[
        str | None,
        Option(metavar="NAME", help="The field with the priority, a whole number, of an input that is an object."),
    ] = None,
    arg: ArgOption = None,
    config: ConfigOption = None,
    run_id: Annotated[str | None, Option(help="A name for the run. (default: a timestamp and a random suffix)")] = None,
    label: Annotated[
        list[str] | None,
        Option(metavar="NAME=VALUE", help="A label by which the run is found. May be given more than once."),
    ] = None,
    or_resume: Annotated[
        bool,
        Option("--or-resume", help="Resume the run of --run-id if it exists; do nothing if it is over."),
    ] = False,
    journal_group: Annotated[
        bool,
        Option("--journal-group", help="Let the group, too, use a new journal. (default: its owner alone)"),
    ] = False,
    command_options: CommandOptions,
    output_options: CommandOutputOptions,
    options: RunOptions,
    settings: dict[str, Any],
) -> None:
    """Run an agent, or a command, over a batch of inputs, in supervised processes.

    Ctrl-C, SIGTERM, SIGHUP or a limit stops the run in order; `quiesce resume` continues it.
    """
    message = TerminationMessage(options.termination_message)
    with errors_in_message(message):
        if run_id is not None:
            check_run_id(run_id)
        labels = parse_labels(label)
        given = given_command(context)
        spec = None if given is None else read_spec(given, command_options)
        _check_what(agent, spec, command_options, output_options, settings)
        is_repeatable = bool(given is not None and given.lists) or bool(sources and STREAM not in sources)
        if or_resume and (run_id is None or not is_repeatable):
            raise UsageError("--or-resume needs --run-id ID and --input FILE: a stream cannot be read a second time")
        read_inputs = partial(_open, given, command_options, sources, input_format, (key_field, priority_field))
        if spec is not None and command_options.dry_run:
            print_commands(spec, read_inputs())
            return
        open_journal = partial(open_for_command, journal_location(options.journal), group=journal_group)
        journal = open_journal() if or_resume else None
        record = None if journal is None else next((run for run in journal.runs() if run.run_id == run_id), None)
        found_settings = build_settings(settings, record)
        observers = HostObservers(message, options.probe_port, options.probe_address)
        agent_name, arguments = _agent_and_arguments(agent, spec, arg, config)
        inputs = read_inputs()
        if journal is not None and record is not None:
            command = _command_run(spec, output_options, found_settings, record.run_id, journal)
            make_runner = partial(Runner, found_settings, record.run_id, options, observers, journal, record, command)
            if spec is None:
                check_arguments(record, arguments, _OTHER_RUN, all_given=True)
            _resume_existing(record, journal, agent_name, spec, inputs, make_runner, exit_options(options, message))
        journal = journal or open_journal()
        name = run_id or new_run_id()
        command = _command_run(spec, output_options, found_settings, name, journal)
        runner = Runner(found_settings, name, options, observers, journal, command=command)
        runner.session.labels = labels
        begin = runner.begin_with_files if inputs.is_whole else runner.begin_with_stream
        begin_run = partial(begin, describe_agent(agent_name, arguments), inputs)
        ended = runner.run(agent_name, begin_run, arguments)
        exit_with_result(ended, exit_options(options, message))


def _check_what(
    agent: str | None,
    spec: CommandSpec | None,
    command_options: CommandOptions,
    output_options: CommandOutputOptions,
    settings: Mapping[str, Any],
) -> None:
    """Raise UsageError unless there is either an agent or a command, with the options that it may have."""
    if agent is not None and spec is not None:
        raise UsageError(f"give an agent ({agent}) or a command behind --, not both")
    if agent is None and spec is None:
        raise UsageError(
            "give an AGENT, or a command behind --: quiesce run AGENT …, quiesce run … -- COMMAND"
            "; see quiesce run --help"
        )
    if spec is None:
        refuse_without_command(command_options, output_options)
        refuse_command_settings(settings)
    elif "concurrency" in settings:
        raise UsageError("--concurrency is for async agents: --workers N (-j N) is how many commands run at once")


def _command_run(
    spec: CommandSpec | None, output: CommandOutputOptions, settings: Settings, run_id: str, journal: Journal
) -> CommandRun | None:
    return None if spec is None else CommandRun(spec, output, settings, run_id, journal.location)


def command_of(
    record: RunRecord, output: CommandOutputOptions, settings: Settings, run_id: str, journal: Journal, agent: str
) -> CommandRun | None:
    """Return what Runner needs to know of the command of an existing run; None for an agent. Raises UsageError."""
    if agent != COMMAND_AGENT:
        refuse_without_command(output)
        return None
    return _command_run(recorded_spec(record), output, settings, run_id, journal)


@expand
def resume(
    context: Context,
    run_id: Annotated[
        str | None,
        Argument(
            metavar="RUN", help="The run, or a unique beginning of its id. (default: the latest that is not over)"
        ),
    ] = None,
    *,
    arg: ArgOption = None,
    config: ConfigOption = None,
    output_options: CommandOutputOptions,
    options: RunOptions,
    settings: dict[str, Any],
) -> None:
    """Resume an interrupted run: completed tasks are kept, and snapshots are passed to the tasks that run again.

    The settings are those of the run, except for those that are given as options. So are the arguments of its agent,
    or its command; others are refused.
    """
    message = TerminationMessage(options.termination_message)
    given = given_command(context)
    if run_id is None and (run_id := dashed_run_id(given)) is not None:
        given = None
    with errors_in_message(message):
        journal = open_for_command(journal_location(options.journal), "write")
        record = journal.get_run(run_id) if run_id is not None else journal.latest_resumable()
        if record is None:
            raise UsageError(f"every run in {journal.location} is over: there is nothing to resume")
        found_settings = build_settings(settings, record)
        agent_name = agent_of(record, journal)
        advice = "leave --arg and --config out, or begin another run"
        check_arguments(record, read_arguments(arg, config), advice, all_given=False)
        if record.cwd:
            change_directory(record.cwd)
        if given is not None:
            _check_given(record, agent_name, given)
        command = command_of(record, output_options, found_settings, record.run_id, journal, agent_name)
        observers = HostObservers(message, options.probe_port, options.probe_address)
        runner = Runner(found_settings, record.run_id, options, observers, journal, record, command)
        ended = runner.run(agent_name, partial(runner.resume, record), arguments_of(record))
        exit_with_result(ended, exit_options(options, message))


def _check_given(record: RunRecord, agent: str, given: CommandWordsGiven) -> None:
    """Raise UsageError if `resume` was given another command than that of the run, or inputs."""
    if given.lists:
        raise UsageError("resume takes no inputs: a run has its own; for new ones: run --or-resume")
    if agent != COMMAND_AGENT:
        raise RunMismatchError(f"run {record.run_id} was begun with the agent {agent}, not with a command")
    stored = recorded_spec(record)
    check_command(record, msgspec.structs.replace(stored, words=list(given.words)), "leave the command out")


def _resume_existing(
    record: RunRecord,
    journal: Journal,
    agent: str,
    spec: CommandSpec | None,
    inputs: InputSet,
    make_runner: Callable[[], Runner],
    options: ExitOptions,
) -> NoReturn:
    """Resume the run of `run --or-resume` in this working directory; only report it if it is over.

    Raises RunMismatchError, before anything is started, when the run was begun with another agent or other inputs.
    """
    advice = _OTHER_RUN
    stored = agent_of(record, journal)
    if stored != agent:
        raise RunMismatchError(f"run {record.run_id} was begun with the agent {stored}, not {agent}; {advice}")
    rest: Iterator[NewTask] | None = None
    if spec is not None:
        check_command(record, spec, advice)
        new = new_tasks(record, journal, inputs, advice)
        rest = iter(new) if new or not record.sealed else None
    else:
        unread = inputs.tasks()
        _compare(record, journal, inputs, unread, advice)
        rest = None if record.sealed else unread
    if record.ended:
        exit_already_finished(record, journal, options)
    runner = make_runner()
    begin = partial(runner.resume, record, rest)
    exit_with_result(runner.run(agent, begin, arguments_of(record)), options)


def _compare(run: RunRecord, journal: Journal, inputs: InputSet, given: Iterator[NewTask], advice: str) -> None:
    """Compare inputs with those of a run. Leave in `given` what the run does not have yet."""
    comparison = Comparison(
        run.run_id,
        may_decode=False,
        source=inputs.label,
        place=lambda seq: f"the task of {inputs.place(seq)},",
        advice=advice,
    )
    total = journal.counts(run.id).total
    compare_in_order(comparison, given, journal.tasks(run.id), total)
    more = next(given, None) if run.sealed else None
    if more is not None:
        comparison.refuse_new(more, more.seq, total)


def journal_location(journal: str | None) -> str:
    """Return the location of the journal: the option, the environment, the configuration file, or the default."""
    if journal == "":
        raise UsageError("--journal is blank: give a path, or leave it out for $QUIESCE_JOURNAL or quiesce.db")
    return choose_journal(journal, os.environ)[0]


def build_settings(given: dict[str, Any], record: RunRecord | None = None) -> Settings:
    """Return the settings of a new run, or of one that is resumed; ask the host for its grace. Raises UsageError."""
    settings = combine(given, None if record is None else record.config or {}, os.environ)
    warn_of_unknown_variables(os.environ)
    return detect.add_host_settings(settings, detect.host_settings())


def exit_options(options: RunOptions, message: TerminationMessage) -> ExitOptions:
    """Return how a command with these options ends."""
    return ExitOptions(
        message, options.log_format, options.as_json, options.interrupted_exit_code, options.slurm_requeue
    )


def _open(
    given: CommandWordsGiven | None,
    options: CommandOptions,
    names: Sequence[str] | None,
    chosen: InputFormat | None,
    fields: tuple[str | None, str | None],
) -> InputSet:
    """Open the inputs. `fields`: those of the key and the priority. Raises UsageError."""
    if given is not None:
        return open_command_inputs(given, options, names, chosen, fields)
    if not names and sys.stdin.isatty():
        raise UsageError("there is no input: give --input FILE, or --input - for standard input")
    return open_inputs(names or [STREAM], chosen, TaskFields(*fields))


def _agent_and_arguments(
    agent: str | None, spec: CommandSpec | None, arg: Sequence[str] | None, config: str | None
) -> tuple[str, dict[str, Any]]:
    """Return what the journal keeps as the agent of the run and its arguments. Raises UsageError."""
    if spec is None:
        return _absolute(agent or ""), read_arguments(arg, config)
    if arg or config:
        raise UsageError("--arg and --config are for agents: a command has its words")
    return COMMAND_AGENT, to_arguments(spec)


def _absolute(agent: str) -> str:
    """Return the agent with an absolute path, so that executors and a resumed run find the same file."""
    source, separator, name = agent.rpartition(":")
    if not agent.strip():
        raise UsageError("the agent is blank: write package.module:name or path/to/file.py:name")
    if separator and (source.endswith(".py") or os.sep in source):
        path = os.path.realpath(source)
        if escape_surrogates(path) != path:
            raise UsageError(
                f"the agent's file {path!r} has a name that is not UTF-8: rename it, or the working directory"
            )
        return f"{path}:{name}"
    return agent


def agent_of(run: RunRecord, journal: Journal) -> str:
    """Return the agent of a run. Raises UsageError for the run of a program, whose agents only that has."""
    name = run.agent.get("agent") if isinstance(run.agent, dict) else None
    if not isinstance(name, str):
        raise UsageError(f"run {run.run_id} was started from Python: to resume it, {resumption(run, journal.location)}")
    return name


def change_directory(directory: str) -> None:
    """Change to the working directory of a run. Raises UsageError."""
    try:
        os.chdir(directory)
    except OSError as error:
        raise UsageError(f"the run's working directory {directory} cannot be entered: {error.strerror}") from None
