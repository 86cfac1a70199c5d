"""The app of typer to which commands are added."""

from __future__ import annotations

from typing import Any

import typer

from orchestrator.cli import declare
from orchestrator.cli.commands.parser import CommandLine


class App(typer.Typer):
    """An app whose commands declare their parameters by `declare`."""

    def command(self, *names: Any, takes_command: bool = False, **more: Any) -> Any:
        """Decorate a command, as typer does. takes_command: it may have a command of the user behind `--`."""
        if takes_command:
            more["cls"] = CommandLine
        decorate = super().command(*names, **more)
        return lambda command: decorate(declare.for_typer(command))
