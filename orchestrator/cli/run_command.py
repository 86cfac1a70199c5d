"""Parse a `quiesce run` that another program is to start: check it as if it were run, and write it down.

Settings of the configuration file become part of the command, which may be started in a directory without the file.
The environment does not: it belongs to this shell.
"""

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

from orchestrator.cli import command_settings, run
from orchestrator.cli.declare import for_typer
from orchestrator.cli.inputs.input_sources import folder_of_pattern
from orchestrator.cli.options import COMMAND_SETTINGS
from orchestrator.cli.setting_sources import from_file
from orchestrator.config import Settings
from orchestrator.setting_list import list_settings
from orchestrator.units import format_number
from runtime.errors import UsageError

_FORMATTED_BY_CALLER: Final = frozenset({"agent", "sources", "journal", "run_id", "or_resume"})
"""Parameters that are not in `RunCommand.options`: `argv` or its caller writes them."""


@dataclass(frozen=True, slots=True)
class RunCommand:
    """A checked command.

    options: the words of a command line for all other options and settings.
    given: the values of the parameters that were given.
    """

    agent: str
    sources: Sequence[str]
    run_id: str
    journal: str | None
    settings: Settings
    options: Sequence[str]
    given: Mapping[str, Any]

    def argv(self, program: Sequence[str], journal: str) -> list[str]:
        """Return the whole command, which resumes the run if it exists."""
        return [
            *program, "run", self.agent, *self.input_words, "--journal", journal, "--run-id", self.run_id,
            "--or-resume", *self.options,
        ]  # fmt: skip

    @property
    def input_words(self) -> list[str]:
        """Return the words of the command line for its inputs."""
        return [word for source in self.sources for word in ("--input", source)]

    @property
    def input_paths(self) -> list[str]:
        """Return the files and folders that its inputs are in."""
        return [folder_of_pattern(source) or source for source in self.sources]


def parse(arguments: Sequence[str], name: str, *, remote_paths: bool = False) -> RunCommand:
    """Parse the arguments of a `quiesce run`. `name` is the command that asks, for messages.

    remote_paths: paths are those of another machine, and stay as they are.
    Raises UsageError and the exceptions of click.
    """
    app = typer.Typer(add_completion=False)
    app.command()(for_typer(run.run))
    command = typer.main.get_command(app)
    with command.make_context(name, list(arguments)) as context:
        parameters = {parameter.name or "": parameter for parameter in command.params}
        given = {key: context.params[key] for key in parameters if _was_given(context.get_parameter_source(key))}
    given = {**command_settings.from_file(COMMAND_SETTINGS), **given}
    if not given.get("agent"):
        raise UsageError(f"{name} needs an AGENT")
    sources = given.get("sources")
    if not sources or "-" in sources:
        raise UsageError(f"{name} needs --input FILE: a service cannot read a stream again when it restarts")
    if remote_paths and given["agent"].startswith("-"):
        raise UsageError(f"the agent {given['agent']!r} would be read as an option: write ./{given['agent']}")
    known = list_settings()
    settings = {**from_file("."), **{key: value for key, value in given.items() if key in known}}
    options = [word for key, value in given.items() if key not in known for word in _words(parameters[key], value)]
    return RunCommand(
        agent=given["agent"] if remote_paths else _absolute_agent(given["agent"]),
        sources=sources if remote_paths else [os.path.abspath(source) for source in sources],
        run_id=given.get("run_id") or _run_id(sources[0]),
        journal=given.get("journal"),
        settings=Settings.from_options(**settings),
        options=[*options, *(word for key, value in settings.items() for word in known[key].format(value))],
        given={**settings, **given},
    )


def program() -> list[str]:
    """Return the words that start this installation of quiesce from any directory."""
    beside = Path(sys.executable).with_name("quiesce")
    script = str(beside) if os.access(beside, os.X_OK) else shutil.which("quiesce")
    return [os.path.abspath(script)] if script else [sys.executable, "-P", "-m", "orchestrator"]


def file_name(text: str) -> str:
    """Return text as a harmless name for a file."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "run"


def _was_given(source: Any) -> bool:
    """Return whether a parameter was on the command line. The name is compared: typer may bring its own click."""
    return source is not None and source.name == "COMMANDLINE"


def _words(parameter: Any, value: Any) -> list[str]:
    """Return the words of an option that is no setting."""
    if parameter.name in _FORMATTED_BY_CALLER:
        return []
    option = max(parameter.opts, key=len)
    if isinstance(value, list):
        return [word for part in value for word in (option, str(part))]
    if parameter.name == "config":
        return [option, os.path.abspath(value)]
    if value is True:
        return [option]
    if isinstance(value, list | tuple):
        return [word for item in value for word in (option, str(item))]
    if isinstance(value, float):
        return [option, format_number(value)]
    return [option, str(value.value if isinstance(value, Enum) else value)]


def _absolute_agent(agent: str) -> str:
    """Return an agent in a file with an absolute path. The name of a module is looked up where the service runs."""
    source, separator, name = agent.rpartition(":")
    if separator and (source.endswith(".py") or os.sep in source):
        return f"{os.path.abspath(source)}:{name}"
    return agent


def _run_id(source: str) -> str:
    """Return a run id that is the same at every start: the name of the input file."""
    return file_name(Path(source).stem)
