"""Give each command the options that all have: `--color`, `-q`, `-v` and `--help`. They may stand before it, too.

They are parsed by typer as the options of a function here, and then belong to every command and to the group of them.
Rejected: the same
parameters in the signature of each command, where one of them would soon be missing or mean something else.
"""

from __future__ import annotations

import os
import signal
from typing import Annotated, Any

import typer

from orchestrator.cli import stdout
from orchestrator.cli.verbosity import Verbosity, choose, current
from runtime.terminal import ColourMode, choose_colours, chosen_colours


def _set_colours(context: typer.Context, mode: ColourMode) -> ColourMode:
    """Choose the colours, unless this is a default: the option may stand before the command."""
    source = context.get_parameter_source("_color")  # its name is compared: typer may bring its own click
    if source is not None and source.name != "DEFAULT":
        choose_colours(mode)
    return mode


def _set_quiet(wanted: bool) -> bool:
    return _set_verbosity(Verbosity.QUIET, wanted=wanted)


def _set_verbose(wanted: bool) -> bool:
    return _set_verbosity(Verbosity.VERBOSE, wanted=wanted)


def _set_verbosity(verbosity: Verbosity, *, wanted: bool) -> bool:
    if wanted and current() not in (Verbosity.NORMAL, verbosity):
        raise typer.BadParameter("-q and -v contradict each other: give one of them")
    if wanted:
        choose(verbosity)
    return wanted


def _show_help(context: typer.Context, wanted: bool) -> None:
    """Print the help of a command, whose renderer knows of colours from the environment alone."""
    if not wanted or context.resilient_parsing:
        return
    if chosen_colours() is ColourMode.NEVER:
        os.environ["NO_COLOR"] = "1"
    elif chosen_colours() is ColourMode.ALWAYS:
        os.environ.pop("NO_COLOR", None)
        os.environ.update(FORCE_COLOR="1", TERM="xterm")
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        stdout.write(context.get_help())  # prints it itself if rich is there
        stdout.flush()
    except OSError as error:
        raise stdout.failed(error) from None
    finally:
        signal.signal(signal.SIGPIPE, before)
    raise typer.Exit


_HelpOption = Annotated[
    bool,
    typer.Option(
        "--help",
        "-h",
        is_eager=True,
        expose_value=False,
        callback=_show_help,
        help="Show this message and exit.",
    ),
]


def _common(
    _color: Annotated[
        ColourMode,
        typer.Option(
            "--color",
            is_eager=True,
            expose_value=False,
            callback=_set_colours,
            help="Colours: on a terminal unless NO_COLOR is set, always, or never. (default: auto)",
        ),
    ] = ColourMode.AUTO,
    _quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            expose_value=False,
            callback=_set_quiet,
            help="Only warnings and errors on standard error.",
        ),
    ] = False,
    _verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            expose_value=False,
            callback=_set_verbose,
            help="More on standard error: log lines of level debug, and the traceback of an error.",
        ),
    ] = False,
    _help: _HelpOption = False,
) -> None:
    pass


def add(group: Any) -> None:
    """Add the options to each command of a group, and to the group itself."""
    common = _parameters(_common)
    for command in group.commands.values():
        taken = {name for parameter in command.params for name in parameter.opts}
        command.params.extend(option for option in common if not taken & set(option.opts))
    group.params.extend(_parameters(_common))


def _parameters(function: Any) -> list[Any]:
    """Return the parameters that typer makes of those of a function."""
    app = typer.Typer(add_completion=False)
    app.command()(function)
    return list(typer.main.get_command(app).params)
