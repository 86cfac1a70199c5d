"""Combine the settings of a command: its options, then the environment, then the configuration file, then defaults.

The file is `quiesce.toml` in the working directory, or the table `[tool.quiesce]` of `pyproject.toml` there.

A run that is resumed keeps the settings that the journal has. Only options change them: the environment and the file
are those of the shell and the directory that happen to resume it, and may be another host's. The exception is a
setting that is not kept with the run (`host_grace`).

Rejected: the same for Supervisor in Python. What a program does must depend on what it says, not on the directory and
the shell that it is started from.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.cli.exit import print_error
from orchestrator.cli.options import COMMAND_SETTINGS
from orchestrator.config import Settings
from orchestrator.config_file import read_table
from orchestrator.setting_list import Setting, list_settings
from runtime.errors import UsageError
from runtime.text import printable

OTHER_VARIABLES: Final = frozenset(
    {
        "QUIESCE_RUN_ID", "QUIESCE_SLOT", "QUIESCE_SUPERVISOR", "QUIESCE_KEY", "QUIESCE_ATTEMPT",
        "QUIESCE_SNAPSHOT_DIR", "QUIESCE_STOP_FILE", "QUIESCE_TASK",
    }
)  # fmt: skip
"""Variables of ours that are no settings: the marks of a run's processes, and what its commands are given."""

_SIMILAR: Final = 0.85
"""From which likeness on a name is taken for another one, mistyped. All begin alike, so that it is high."""


def combine(
    options: Mapping[str, Any], recorded: object, environment: Mapping[str, str], directory: str | Path = "."
) -> Settings:
    """Return the settings of a command. `recorded` are those of the run that it resumes, or None.

    Raises UsageError for a setting that cannot be used; the message says where it was given.
    """
    surroundings = {**from_file(directory), **from_environment(environment)}
    if recorded is None:
        return Settings.from_options(**{**surroundings, **options})
    if not isinstance(recorded, dict):
        raise UsageError("the settings of the run are damaged in the journal")
    of_host = {name: value for name, value in surroundings.items() if Settings.model_fields[name].exclude}
    return Settings.from_options(**{**recorded, **of_host, **options})


def from_environment(environment: Mapping[str, str], settings: Mapping[str, Setting] | None = None) -> dict[str, Any]:
    """Return the settings in the environment. Raises UsageError, which names the variable."""
    known = list_settings() if settings is None else settings
    texts = {
        name: environment[setting.variable] for name, setting in known.items() if environment.get(setting.variable)
    }
    return {name: _parse(known[name], text, known[name].variable) for name, text in texts.items()}


def from_file(directory: str | Path, settings: Mapping[str, Setting] | None = None) -> dict[str, Any]:
    """Return the settings in the configuration file. Raises UsageError, which names the file and the key."""
    return read_file(directory, settings)[1]


def read_file(directory: str | Path, settings: Mapping[str, Setting] | None = None) -> tuple[str, dict[str, Any]]:
    """Return the name of the configuration file and its settings. Raises UsageError likewise."""
    known = list_settings() if settings is None else settings
    path, table = read_table(directory)
    names = [*known, *COMMAND_SETTINGS]
    for key in table:
        if key not in names:
            close = difflib.get_close_matches(key.replace("-", "_"), names, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
            raise UsageError(f"{path}: unknown setting {key!r}; {hint}")
    return path, {name: _parse(known[name], value, path) for name, value in table.items() if name in known}


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that is named nearly like that of a setting: it has no effect.

    A variable that resembles none may be the user's own. What a run sets for its processes is no setting either.
    """
    variables = {setting.variable for setting in list_settings().values()} | OTHER_VARIABLES
    variables |= {setting.variable for setting in COMMAND_SETTINGS.values()}
    lines = []
    for name in sorted(environment):
        if name.startswith("QUIESCE_") and name not in variables:
            close = difflib.get_close_matches(name.upper(), variables, 1, _SIMILAR)
            lines += (
                [f"{printable(name)} is not a setting and has no effect; did you mean {close[0]}?"] if close else []
            )
    return lines


def warn_of_unknown_variables(environment: Mapping[str, str]) -> None:
    """Print a line on standard error for each variable that `unknown_variables` finds."""
    for line in unknown_variables(environment):
        print_error(f"quiesce: warning: {line}")


def _parse(setting: Setting, value: object, source: str) -> Any:
    try:
        return setting.parse(value)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None
