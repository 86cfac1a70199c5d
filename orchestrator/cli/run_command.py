"""A `quiesce run` that somebody else is to start: checked as if it were run, and written down so that it can be."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import typer

from orchestrator.cli import run
from orchestrator.config import Settings
from orchestrator.integrations.systemd.unit import decimal
from runtime.errors import UsageError

_HANDLED_SEPARATELY: Final = frozenset({"agent", "source", "journal", "run_id", "or_resume"})
"""Parameters that are written down by hand."""


@dataclass(frozen=True, slots=True)
class RunCommand:
    """A checked command.

    `options` are the words for everything that was given and is not named here, `given` the values.
    """

    agent: str
    source: str
    run_id: str
    journal: str | None
    settings: Settings
    options: Sequence[str]
    given: Mapping[str, Any]

    def argv(self, program: Sequence[str], journal: str) -> list[str]:
        """The whole command, which resumes the run if it exists."""
        return [
            *program, "run", self.agent, "--input", self.source, "--journal", journal, "--run-id", self.run_id,
            "--or-resume", *self.options,
        ]  # fmt: skip


def parse(arguments: Sequence[str], name: str, *, elsewhere: bool = False) -> RunCommand:
    """Read the arguments of a `quiesce run`. `name` is the command that asks. Raises UsageError, click's errors.

    `elsewhere`: paths mean something on another machine, and stay as they are.
    """
    app = typer.Typer(add_completion=False)
    app.command()(run.run)
    command = typer.main.get_command(app)
    with command.make_context(name, list(arguments)) as context:
        given = {
            parameter: context.params[parameter.name or ""]
            for parameter in command.params
            if _was_given(context.get_parameter_source(parameter.name or ""))
        }
        values = {parameter.name or "": value for parameter, value in given.items()}
        source = values.get("source")
        if source is None or source == "-":
            raise UsageError(f"{name} needs --input FILE: a service cannot read a stream again when it restarts")
        if elsewhere and values["agent"].startswith("-"):
            raise UsageError(f"the agent {values['agent']!r} would be read as an option: write ./{values['agent']}")
        return RunCommand(
            agent=values["agent"] if elsewhere else _agent(values["agent"]),
            source=source if elsewhere else os.path.abspath(source),
            run_id=values.get("run_id") or _run_id(source),
            journal=values.get("journal"),
            settings=_settings(values),
            options=[word for parameter, value in given.items() for word in _words(parameter, value)],
            given=values,
        )


def program() -> list[str]:
    """How to start this very quiesce, from anywhere."""
    beside = Path(sys.executable).with_name("quiesce")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("quiesce")
    return [os.path.abspath(found)] if found else [sys.executable, "-P", "-m", "orchestrator.cli"]


def _was_given(source: Any) -> bool:
    """On the command line, not in the environment. (By name: typer may bring a click of its own.)"""
    return source is not None and source.name == "COMMANDLINE"


def _words(parameter: Any, value: Any) -> list[str]:
    if parameter.name in _HANDLED_SEPARATELY:
        return []
    option = max(parameter.opts, key=len)
    if value is True:
        return [option]
    if isinstance(value, float):
        return [option, decimal(value)]
    return [option, str(value.value if isinstance(value, Enum) else value)]


def _agent(agent: str) -> str:
    """A file's path made absolute. A module's name stays: it is looked for where the service runs."""
    source, separator, name = agent.rpartition(":")
    if separator and (source.endswith(".py") or os.sep in source):
        return f"{os.path.abspath(source)}:{name}"
    return agent


def _run_id(source: str) -> str:
    """A name that stays the same at every start: the input's."""
    return file_name(Path(source).stem)


def file_name(text: str) -> str:
    """Text as a harmless name for a file."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "run"


def _settings(values: dict[str, Any]) -> Settings:
    known = {name: value for name, value in values.items() if name in Settings.model_fields and name != "max_failures"}
    return Settings.from_options(**known)
