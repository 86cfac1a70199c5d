"""`quiesce retry`: a run of its own for the tasks of another one that failed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.cli.arguments import ArgOption, ConfigOption, arguments_of, describe_agent, read_arguments
from orchestrator.cli.commands.options import CommandOutputOptions
from orchestrator.cli.declare import Argument, Option
from orchestrator.cli.exit import errors_in_message, exit_with_result
from orchestrator.cli.journals import open_for_command
from orchestrator.cli.labels import parse_labels
from orchestrator.cli.observers import HostObservers
from orchestrator.cli.options import RunOptions, expand
from orchestrator.cli.run import (
    agent_of,
    build_settings,
    change_directory,
    command_of,
    exit_options,
    journal_location,
)
from orchestrator.cli.runner import Runner
from orchestrator.integrations.kubernetes.termination import TerminationMessage
from orchestrator.journal import Journal, RunRecord
from orchestrator.retries import failed_tasks, select_failed
from orchestrator.run_id import LONGEST_RUN_ID, check_run_id, new_run_id
from runtime.errors import UsageError

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(retry)


@expand
def retry(
    run: Annotated[str, Argument(metavar="RUN", help="A run id, or a unique beginning of one.")],
    *,
    failed: Annotated[
        bool,
        Option("--failed", help="Retry all tasks that failed. This is what happens without --key and --where."),
    ] = False,
    key: Annotated[
        list[str] | None, Option("--key", metavar="KEY", help="Only the task of this key. May be repeated.")
    ] = None,
    where: Annotated[
        str | None,
        Option("--where", metavar="REGEX", help="Only tasks whose error or cause (`quiesce failures`) matches this."),
    ] = None,
    run_id: Annotated[str | None, Option(help="A name for the new run. (default: that of the run, and -retry)")] = None,
    arg: ArgOption = None,
    config: ConfigOption = None,
    label: Annotated[
        list[str] | None,
        Option(
            "--label",
            metavar="NAME=VALUE",
            help="A label of the new run, besides those of the run. May be given more than once.",
        ),
    ] = None,
    output_options: CommandOutputOptions,
    options: RunOptions,
    settings: dict[str, Any],
) -> None:
    """Retry the tasks of a run that failed, in a new run; what the run has recorded stays as it is.

    Settings, labels and arguments are those of the run, except for those that are given as options.
    `quiesce results RUN --with-retries` shows what came of it.
    """
    message = TerminationMessage(options.termination_message)
    with errors_in_message(message):
        if failed and (key or where):
            raise UsageError("--failed means all tasks that failed: leave it out, or --key and --where")
        if run_id is not None:
            check_run_id(run_id)
        labels, given_arguments = parse_labels(label), read_arguments(arg, config)
        journal = open_for_command(journal_location(options.journal), "write")
        parent = journal.get_run(run)
        agent_name = agent_of(parent, journal)
        keys = select_failed(journal, parent, keys=key or None, where=where)
        if not keys:
            raise UsageError(f"run {parent.run_id} has no failed task{' that matches' if where else ''} to retry")
        found_settings = build_settings(settings, parent)
        if parent.cwd:
            change_directory(parent.cwd)
        observers = HostObservers(message, options.probe_port, options.probe_address)
        name = run_id or name_retry(journal, parent)
        command = command_of(parent, output_options, found_settings, name, journal, agent_name)
        if command is not None and given_arguments:
            raise UsageError("--arg and --config are for agents: a command has its words")
        runner = Runner(found_settings, name, options, observers, journal, command=command)
        runner.session.labels = labels
        arguments = {**arguments_of(parent), **given_arguments}
        tasks = failed_tasks(journal, parent, keys)
        begin = partial(runner.begin_retry, parent, describe_agent(agent_name, arguments), tasks)
        exit_with_result(runner.run(agent_name, begin, arguments), exit_options(options, message))


def name_retry(journal: Journal, parent: RunRecord) -> str:
    """Return an id for a retry of a run: `RUN-retry`, `RUN-retry-2` and so on."""
    taken = {run.run_id for run in journal.runs()}
    for number in range(1, len(taken) + 2):
        run_id = f"{parent.run_id}-retry" + (f"-{number}" if number > 1 else "")
        if run_id not in taken:
            return run_id if len(run_id.encode()) <= LONGEST_RUN_ID else new_run_id()
    raise AssertionError("one of the names is free")
