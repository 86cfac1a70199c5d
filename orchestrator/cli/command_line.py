"""All commands of quiesce, as typer has them. `main` is the entry point; each group of commands is a module."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from orchestrator.cli import (
    clean,
    common_options,
    completion,
    config,
    events,
    failures,
    help_texts,
    kubernetes,
    logs,
    prune,
    queries,
    results,
    retry,
    run,
    service,
    slurm,
    stacks,
    steering,
)
from orchestrator.cli.exit import exit_now, print_error
from orchestrator.cli.exit_codes import USAGE
from orchestrator.cli.mistakes import mistakes_in_one_line
from orchestrator.cli.typer_app import App
from orchestrator.version import VERSION
from runtime.errors import UsageError
from runtime.reasons import escape_surrogates

app = App(
    name="quiesce",
    help="Run agents over batches of inputs, in processes that stop properly.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
run.register(app)
retry.register(app)
queries.register(app)
steering.register(app)
clean.register(app)
prune.register(app)
results.register(app)
events.register(app)
logs.register(app)
failures.register(app)
config.register(app)
kubernetes.register(app)
service.register(app)
slurm.register(app)
stacks.register(app)


_ClickException: Final[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""The parser's exception for wrong usage. Found by name, because typer may bring a click of its own."""

_CLEARER: Final = {
    "": "Value error, ",
    "it must be a whole number": "Input should be a valid integer, unable to parse string as an integer",
    "it must be at least": "Input should be greater than or equal to",
    "it must be at most": "Input should be less than or equal to",
}
"""Words for those of the parser's checks, which speak of an input."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"quiesce {VERSION}")
        raise typer.Exit


def build() -> Any:
    """Return the whole command line: the commands, with the options and the help that all of them have."""
    command: Any = typer.main.get_command(app)
    common_options.add(command)
    help_texts.complete(command)
    completion.add(command)
    return command


@app.callback()
def _quiesce(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. A mistake of the user is one line on standard error and exit code 2."""
    try:
        with mistakes_in_one_line():
            _refuse_bytes(sys.argv[1:])
            completion.join_words(os.environ)
            code = build()(prog_name="quiesce", standalone_mode=False)
    except _ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            print_error(f"quiesce: {_one_line(error)}")
        exit_now(USAGE)
    sys.exit(code)


def _refuse_bytes(arguments: Sequence[str]) -> None:
    """Raise UsageError for arguments that are not UTF-8: neither a journal nor a frame can keep them."""
    for number, word in enumerate(arguments, 1):
        if escape_surrogates(word) != word:
            raise UsageError(f"argument {number}, {word!r}, is not text in UTF-8")


def _one_line(error: Any) -> str:
    text = " ".join(str(error.format_message()).split()).removesuffix(".")
    for ours, theirs in _CLEARER.items():
        text = text.replace(theirs, ours)
    if "extra argument" in text and error.ctx is not None and error.ctx.info_name == "run":
        text += "; files with inputs are given by --input FILE"
    return text if error.ctx is None else f"{text}; see {error.ctx.command_path} --help"
