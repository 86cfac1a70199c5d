"""`quiesce config`: show every setting with its value and its origin."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import typer

from orchestrator.cli import command_settings, setting_sources
from orchestrator.cli.journal_query import AsJson, print_json, print_line
from orchestrator.cli.options import COMMAND_SETTINGS, expand
from orchestrator.cli.stdout import die_by_sigpipe, flush
from orchestrator.config_file import DEFAULT, Origin, read_table
from orchestrator.core.settings import MaxFailures
from orchestrator.integrations import detect
from orchestrator.integrations.detect import HostValue
from orchestrator.journal import DEFAULT_JOURNAL
from orchestrator.setting_list import Setting, list_settings
from runtime.text import printable


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as the command shows it."""

    name: str
    option: str
    variable: str
    value: str | float | None
    text: str
    origin: Origin

    def to_dict(self) -> dict[str, Any]:
        """Return the row for programs."""
        origin = {"origin": self.origin.kind, "place": self.origin.place}
        return {"setting": self.name, "value": self.value, **origin, "option": self.option, "variable": self.variable}


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(config)


@expand
def config(*, json: AsJson = False, given: dict[str, Any], settings: dict[str, Any]) -> None:
    """Show every setting with its value and where that comes from: an option, the environment, a file, or the default.

    Give it options of `run` to see what they change.
    """
    die_by_sigpipe()
    rows = build_rows(settings, os.environ, detect.host_settings())
    rows += build_command_rows(given, os.environ)
    setting_sources.warn_of_unknown_variables(os.environ)
    if json:
        for row in rows:
            print_json(row.to_dict())
    else:
        for line in _table(rows):
            print_line(line)
    flush()


def build_rows(
    options: Mapping[str, Any], environment: Mapping[str, str], found: Mapping[str, HostValue], directory: str = "."
) -> list[Row]:
    """Return a row for each setting, in the order of their list.

    found: what the host has given.
    Raises UsageError for a value that cannot be used, and for an unknown key.
    """
    file, of_file = setting_sources.read_file(directory)
    path = os.path.join(os.path.abspath(directory), file)
    of_environment = setting_sources.from_environment(environment)
    settings = setting_sources.combine(options, None, environment, directory)
    settings = detect.add_host_settings(settings, found)
    rows = []
    for setting in list_settings().values():
        origin = DEFAULT
        if setting.name in options:
            origin = Origin("option", setting.option)
        elif setting.name in of_environment:
            origin = Origin("environment", setting.variable)
        elif setting.name in of_file:
            origin = Origin("file", path)
        elif setting.name in found:
            origin = Origin("host", found[setting.name].origin)
        rows.append(_row(setting, getattr(settings, setting.name), origin))
    return rows


def build_command_rows(
    options: Mapping[str, Any], environment: Mapping[str, str], directory: str = "."
) -> Iterator[Row]:
    """Yield a row for each setting of a command. Raises UsageError likewise."""
    file, _ = read_table(directory)
    of_file = command_settings.from_file(COMMAND_SETTINGS, directory)
    given = {**command_settings.from_surroundings(COMMAND_SETTINGS, environment, directory), **options}
    for name, setting in COMMAND_SETTINGS.items():
        value, origin = given.get(name, DEFAULT_JOURNAL if name == "journal" else setting.default), DEFAULT
        if name in options:
            origin = Origin("option", setting.option)
        elif environment.get(setting.variable):
            origin = Origin("environment", setting.variable)
        elif name in of_file:
            origin = Origin("file", os.path.join(os.path.abspath(directory), file))
        yield Row(name, setting.option, setting.variable, _plain(value), setting.show(value), origin)


def _row(setting: Setting, value: Any, origin: Origin) -> Row:
    return Row(setting.name, setting.option, setting.variable, _plain(value), setting.show(value), origin)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    return value.format() if isinstance(value, MaxFailures) else value


def _table(rows: list[Row]) -> Iterator[str]:
    """Yield the rows in columns, below a head."""
    names = max(len(row.name) for row in rows)
    values = max(len(row.text) for row in rows)
    yield f"{'SETTING':{names}}  {'VALUE':{values}}  ORIGIN"
    for row in rows:
        yield f"{row.name:{names}}  {printable(row.text):{values}}  {printable(row.origin.place)}"
