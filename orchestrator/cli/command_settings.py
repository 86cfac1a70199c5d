"""List the settings of a command: options of `run`, `resume` and `retry` that do not belong to the run.

They are the fields of RunOptions that are no question of one call (`--json`). Each is an option, an environment
variable and a key of the configuration file, as the settings of the run are (orchestrator/setting_list.py); where none
of them is given, the default of the field holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from orchestrator.config_file import read_table, read_text
from runtime.errors import UsageError
from runtime.limits import show_value

_OF_ONE_CALL: Final = frozenset({"as_json"})

PYTHON: Final = frozenset({"journal", "progress", "output"})
"""Those that are parameters of Supervisor, too."""


@dataclass(frozen=True, slots=True)
class CommandSetting:
    """One setting of a command. `kind` is str, int or a class of words; `least` and `most` are limits of an int."""

    name: str
    kind: type
    help: str
    default: Any
    least: float | None
    most: float | None

    @property
    def option(self) -> str:
        """Its option on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"QUIESCE_{self.name.upper()}"

    def parse(self, value: object, source: str) -> Any:
        """Return the value that text, or a value of a file, stands for. Raises UsageError, which names `source`."""
        if issubclass(self.kind, Enum):
            words = [str(word.value) for word in self.kind]
            if value not in words:
                raise UsageError(f"{source}: {self.name} = {show_value(value)}: it must be one of {', '.join(words)}")
            return self.kind(value)
        return self._number(value, source) if self.kind is int else read_text(self.name, value, source)

    def show(self, value: Any) -> str:
        """Return a value for people. None is the default where that is none of the values."""
        _, described, default = self.help.rpartition("(default: ")
        if value is None:
            return default.removesuffix(")") if described else "none"
        return str(value.value if isinstance(value, Enum) else value)

    def _number(self, value: object, source: str) -> int:
        try:
            number = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
        except ValueError:
            number = None
        if number is None:
            raise UsageError(f"{source}: {self.name} = {show_value(value)}: it must be a whole number")
        if (self.least is not None and number < self.least) or (self.most is not None and number > self.most):
            raise UsageError(f"{source}: {self.name} = {number}: it must be from {self.least:g} to {self.most:g}")
        return number


def list_command_settings(model: type) -> Mapping[str, CommandSetting]:
    """Return the settings of a command by name, in the order of the fields of a class like RunOptions."""
    hints = get_type_hints(model, include_extras=True)
    chosen = [field for field in fields(model) if field.name not in _OF_ONE_CALL]
    return {field.name: _setting(field.name, hints[field.name], field.default) for field in chosen}


def from_surroundings(
    known: Mapping[str, CommandSetting], environment: Mapping[str, str], directory: str | Path = "."
) -> dict[str, Any]:
    """Return what environment and file give; the environment wins. Raises UsageError."""
    texts = {
        name: environment[setting.variable] for name, setting in known.items() if environment.get(setting.variable)
    }
    given = {name: known[name].parse(text, known[name].variable) for name, text in texts.items()}
    return {**from_file(known, directory), **given}


def from_file(known: Mapping[str, CommandSetting], directory: str | Path = ".") -> dict[str, Any]:
    """Return what the configuration file gives. Raises UsageError."""
    source, table = read_table(directory)
    return {name: known[name].parse(value, source) for name, value in table.items() if name in known}


def format_table(known: Mapping[str, CommandSetting]) -> str:
    """Return the table of these settings for docs/settings.md."""
    rows = ["| option | environment | file | Python | meaning |", "|---|---|---|---|---|"]
    for setting in known.values():
        option = f"`{setting.option}`{', `-j`' if setting.name == 'journal' else ''}"
        python = f"`{setting.name}`" if setting.name in PYTHON else ""
        default = "" if "(default: " in setting.help else f" (default: {setting.show(setting.default)})"
        rows.append(f"| {option} | `{setting.variable}` | `{setting.name}` | {python} | {setting.help}{default} |")
    return "\n".join(rows) + "\n"


def _setting(name: str, hint: Any, default: Any) -> CommandSetting:
    kinds, option = get_args(hint)[0], get_args(hint)[1]
    kind = next(kind for kind in (get_args(kinds) or (kinds,)) if kind is not type(None))
    return CommandSetting(name, kind, option.help or "", default, option.min, option.max)
