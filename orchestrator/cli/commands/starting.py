"""Make the command, its inputs and its tasks of what was given on the command line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.cli.commands.lists import source_of_lists
from orchestrator.cli.commands.options import CommandOptions
from orchestrator.cli.commands.parsing import CommandWordsGiven
from orchestrator.cli.commands.task_names import CommandTaskNames
from orchestrator.cli.inputs.formats import InputFormat
from orchestrator.cli.inputs.input_set import InputSet, open_inputs
from orchestrator.cli.inputs.input_sources import STREAM
from orchestrator.core.settings import OF_COMMANDS
from runtime.command.spec import CommandSpec
from runtime.command.words import CommandWords, TaskPlace
from runtime.errors import UsageError
from runtime.ipc import codec


def read_spec(given: CommandWordsGiven, options: CommandOptions) -> CommandSpec:
    """Return the command that was given. Raises UsageError for one that cannot be run."""
    CommandWords(given.words, shell=options.shell)
    program = given.words[0]
    if not options.shell and not options.dry_run and "{" not in program and shutil.which(program) is None:
        hint = "; with --shell it may be one of the shell" if "/" not in program else ""
        raise UsageError(f"there is no program {program!r}{hint}")
    return CommandSpec(words=list(given.words), shell=options.shell, stdin=options.stdin)


def open_command_inputs(
    given: CommandWordsGiven,
    options: CommandOptions,
    names: Sequence[str] | None,
    chosen: InputFormat | None,
    fields: tuple[str | None, str | None],
) -> InputSet:
    """Return the inputs of a command. `fields`: those of the key and the priority. Raises UsageError."""
    task_names = CommandTaskNames(*fields)
    if options.lines and options.null:
        raise UsageError("--lines and -0 contradict each other: give one of them")
    if chosen is not None and (options.lines or options.null):
        raise UsageError("--lines and -0 are formats of their own: leave --input-format out")
    if given.lists:
        if names or options.lines or options.null:
            raise UsageError("inputs stand behind ::: already: leave --input, --lines and -0 out")
        return InputSet([source_of_lists(given.lists, link=options.link)], task_names)
    if options.link:
        raise UsageError("--link is for lists behind :::")
    if not names and sys.stdin.isatty():
        raise UsageError("there is no input: give ::: INPUT…, --input FILE, or --input - for standard input")
    form = InputFormat.LINES if options.lines else InputFormat.NUL if options.null else chosen
    return open_inputs(names or [STREAM], form, task_names)


def print_commands(spec: CommandSpec, inputs: InputSet) -> None:
    """Print the command of each input, as a shell takes it. Raises UsageError for an input that does not fit."""
    words = CommandWords(spec.words, shell=spec.shell)
    for number, task in enumerate(inputs.tasks(), 1):
        line = words.shown(codec.decode_json(task.input), TaskPlace(number, 1))
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def refuse_command_settings(settings: Mapping[str, Any]) -> None:
    """Raise UsageError for a setting that only a run of commands has."""
    name = next((name for name in OF_COMMANDS if name in settings), None)
    if name is not None:
        raise UsageError(f"--{name.replace('_', '-')} is for commands: quiesce run … -- COMMAND")
