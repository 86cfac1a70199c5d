"""The options that only runs of commands have, besides their settings (OF_COMMANDS)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from orchestrator.cli.declare import Option
from runtime.errors import UsageError

_PANEL = "Commands: quiesce run -- COMMAND (docs/commands.md)"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOptions:
    """How a command gets its inputs. What of it changes results belongs to the run's identity."""

    lines: Annotated[
        bool, Option("--lines", rich_help_panel=_PANEL, help="Each line of the input is one, as it is.")
    ] = False
    null: Annotated[
        bool, Option("--null", "-0", rich_help_panel=_PANEL, help="Inputs end with NUL, as of `find -print0`.")
    ] = False
    link: Annotated[
        bool,
        Option(
            "--link", rich_help_panel=_PANEL, help="Take the lists of ::: element by element, not all combinations."
        ),
    ] = False
    stdin: Annotated[
        str | None,
        Option(
            metavar="FIELD",
            rich_help_panel=_PANEL,
            help="The field of an input that is the command's standard input. (default: that is /dev/null)",
        ),
    ] = None
    shell: Annotated[
        bool,
        Option("--shell", rich_help_panel=_PANEL, help="The words are a script for /bin/sh; inputs are quoted."),
    ] = False
    dry_run: Annotated[bool, Option("--dry-run", rich_help_panel=_PANEL, help="Print the commands, and run none.")] = (
        False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOutputOptions:
    """What this start does with what commands write."""

    keep_order: Annotated[
        bool, Option("--keep-order", "-k", rich_help_panel=_PANEL, help="Print output in the order of the input.")
    ] = False
    tag: Annotated[
        bool, Option("--tag", rich_help_panel=_PANEL, help="Begin each line of output with its input and a tab.")
    ] = False
    joblog: Annotated[
        str | None,
        Option(
            metavar="FILE", rich_help_panel=_PANEL, help="Append a line for each command that ended, as GNU parallel."
        ),
    ] = None
    results: Annotated[
        str | None,
        Option(metavar="DIR", rich_help_panel=_PANEL, help="Write all output to files in DIR/1/INPUT; print none."),
    ] = None


def refuse_without_command(*groups: CommandOptions | CommandOutputOptions) -> None:
    """Raise UsageError for an option that only a command has."""
    for group in groups:
        for field in fields(group):
            if getattr(group, field.name) != field.default:
                raise UsageError(f"--{field.name.replace('_', '-')} is for commands: quiesce run … -- COMMAND")
