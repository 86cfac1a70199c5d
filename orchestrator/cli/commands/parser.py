"""The parser of those commands that may have a command of the user behind `--`."""

from __future__ import annotations

from typing import Any

import typer.core

from orchestrator.cli.commands.parsing import KEY, SEPARATOR, split_command, with_jobs


class CommandLine(typer.core.TyperCommand):
    """A command of the command line that may have a command of the user behind `--`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words before `--`; keep those behind it for `given_command`."""
        if SEPARATOR in args:
            at = args.index(SEPARATOR)
            ctx.meta[KEY] = split_command(args[at + 1 :])
            args = with_jobs(args[:at])
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND [ARG]... [::: INPUT...]]"]
