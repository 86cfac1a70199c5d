"""List the settings that users may give. Everything is derived from the fields of `Settings`.

A field with a description is a setting: an option, an environment variable, a key of the configuration file, a
parameter of Supervisor and a row of docs/settings.md. A field without one is internal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from orchestrator.config import Settings, SettingsOptions
from orchestrator.core.checked_record import RecordField
from orchestrator.core.settings import OF_COMMANDS, MaxFailures, ShortOption, Unit
from orchestrator.core.slot_environment import format_slot_env, parse_slot_env
from orchestrator.units import format_number, parse_seconds, parse_size
from runtime.errors import UsageError
from runtime.limits import show_value

_PARSERS = {Unit.SECONDS: parse_seconds, Unit.BYTES: parse_size}
_METAVARS = {Unit.SECONDS: "TIME", Unit.BYTES: "SIZE", Unit.FAILURES: "N|P%", Unit.COUNT: "N", Unit.FLAG: ""}
_METAVARS |= {Unit.SHARE: "SHARE", Unit.NAMES: "NAMES"}
_METAVARS |= {Unit.SIGNALS: "NAMES", Unit.HOST: "HOST"}
_METAVARS |= {Unit.SIGNAL: "SIGNAL", Unit.CODES: "CODES", Unit.LOAD: "N|P%", Unit.HALT: "WHEN,WHAT=N|P%"}
_METAVARS[Unit.SLOT_ENV] = "NAME=V0,V1,…"
_TEXTS = {Unit.SIGNAL, Unit.LOAD, Unit.HALT}

_LIMITS = {Unit.SECONDS, Unit.BYTES, Unit.COUNT, Unit.FAILURES}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `model` is the class that checks its value."""

    name: str
    unit: Unit
    help: str
    minimum: int | None
    short: str | None
    model: type[Settings]

    @property
    def option(self) -> str:
        """Its option on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"QUIESCE_{self.name.upper()}"

    @property
    def metavar(self) -> str:
        """The placeholder of its value in help texts."""
        return _METAVARS[self.unit]

    def read(self, text: object) -> Any:
        """Return the value that text with a unit stands for, unchecked. Raises ValueError."""
        if self.unit is Unit.SLOT_ENV:
            return parse_slot_env(text)
        if self.unit is Unit.FAILURES:
            return MaxFailures.parse(str(text), self.option)
        return _PARSERS[self.unit](text) if self.unit in _PARSERS else text

    def parse(self, value: object) -> Any:
        """Return the value of the setting from text or from a plain value. Raises UsageError, which names it."""
        if self.unit is Unit.FAILURES:
            return MaxFailures.parse(str(value), self.name)
        try:
            value = self.read(value)
        except ValueError as error:
            raise UsageError(f"{self.name} = {show_value(value)}: {error}") from None
        if self.unit is Unit.SLOT_ENV:  # whether there are enough depends on another setting
            return value
        return getattr(self.model.from_options(**{self.name: value}), self.name)

    def format(self, value: Any) -> list[str]:
        """Return the words of a command line that give this value."""
        if self.unit is Unit.SLOT_ENV:
            return [word for text in format_slot_env(parse_slot_env(value)) for word in (self.option, text)]
        if self.unit is Unit.FLAG:
            return [self.option if value else f"--no-{self.option[2:]}"]
        if self.unit in (Unit.NAMES, Unit.SIGNALS, Unit.CODES):
            return [self.option, value if isinstance(value, str) else ",".join(map(str, value)) or "none"]
        if self.unit is Unit.HOST:
            return [self.option, value or "off"]
        if self.unit in _TEXTS:
            return [self.option, str(value)]
        return [self.option, value.format() if isinstance(value, MaxFailures) else format_number(value)]

    def show(self, value: Any) -> str:
        """Return a value for people. None is the default where that is none of the values."""
        _, described, default = self.help.rpartition("(default: ")
        return default.removesuffix(")") if value is None and described else _show(value, self.unit)


def list_settings(model: type[Settings] = Settings) -> Mapping[str, Setting]:
    """Return the settings of a model by name, in the order of its fields."""
    return {name: _setting(name, field, model) for name, field in model.model_fields.items() if field.description}


def settings_from_options(options: SettingsOptions) -> Settings:
    """Return the settings of a Supervisor from its parameters. Raises TypeError for an unknown name, UsageError."""
    unknown = next((name for name in options if name not in list_settings()), None)
    if unknown is not None:
        raise TypeError(f"Supervisor() got an unexpected keyword argument {unknown!r}")
    of_commands = next((name for name in options if name in OF_COMMANDS), None)
    if of_commands is not None:
        raise UsageError(f"{of_commands} is for commands (`quiesce run … -- COMMAND`): a Supervisor has none")
    values: dict[str, Any] = dict(options)
    if values.get("max_failures") is not None:
        values["max_failures"] = MaxFailures.parse(values["max_failures"], "max_failures")
    if values.get("workers", 0) is None:  # as if it was not given
        del values["workers"]
    return Settings.from_options(**values)


def format_table(model: type[Settings] = Settings) -> str:
    """Return the table of all settings for docs/settings.md."""
    rows = ["| option | environment | file and Python | value | meaning |", "|---|---|---|---|---|"]
    for setting in list_settings(model).values():
        option = setting.option if setting.short is None else f"{setting.option}`, `{setting.short}"
        help_text = setting.help.replace("|", "\\|")
        rows.append(f"| `{option}` | `{setting.variable}` | `{setting.name}` | {setting.unit.value} | {help_text} |")
    return "\n".join(rows) + "\n"


def _setting(name: str, field: RecordField, model: type[Settings]) -> Setting:
    unit, text = _unit(field), field.description or ""
    if "(default: " not in text:
        text += f" (default: {_show(field.default, unit)})"
    short = next((mark.text for mark in field.metadata if isinstance(mark, ShortOption)), None)
    return Setting(name, unit, text, field.minimum, short, model)


def _show(value: Any, unit: Unit) -> str:
    if value is None:
        return "no limit" if unit in _LIMITS else "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, MaxFailures):
        return value.format()
    if isinstance(value, dict):
        return " ".join(format_slot_env(value)) or "none"
    if isinstance(value, str):
        return value
    return format_number(value) if isinstance(value, int | float) else ",".join(map(str, value))


def _unit(field: RecordField) -> Unit:
    """Return the unit of a field: as marked, or by its type (every float is a number of seconds)."""
    types = set(_types(field.annotation))
    by_type = {bool: Unit.FLAG, float: Unit.SECONDS, MaxFailures: Unit.FAILURES}
    marks = [mark for mark in field.metadata if isinstance(mark, Unit)]
    return (marks or [unit for kind, unit in by_type.items() if kind in types] or [Unit.COUNT])[0]


def _types(annotation: Any) -> Iterator[Any]:
    yield from get_args(annotation) or (annotation,)
