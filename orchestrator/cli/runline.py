"""A `quiesce run` command line that is not run here, but looked at: `manifest` and `unit` print it into a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
import typer
import typer.main
from click.core import ParameterSource

from orchestrator.cli import run
from orchestrator.config import Settings


@dataclass(frozen=True, slots=True)
class RunLine:
    """The words after `quiesce run`, what they mean, and which options were given (not defaulted)."""

    words: Sequence[str]
    params: Mapping[str, Any]
    given: frozenset[str]

    @property
    def needed(self) -> float:
        """Seconds that a stop may need, from the signal to the end."""
        chosen = {name: self.params[name] for name in ("grace", "term_grace") if name in self.given}
        settings = Settings.of(**chosen)
        return settings.fit(settings.grace, settings.term_grace).needed


def parse(words: Sequence[str]) -> RunLine:
    """Parse them as `run` itself would. A mistake ends as it would there: one message, exit code 2."""
    app = typer.Typer()
    run.register(app)
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    context = group.commands["run"].make_context("quiesce run", list(words))
    given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    return RunLine(list(words), context.params, frozenset(given))
