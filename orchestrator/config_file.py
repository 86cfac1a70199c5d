"""Read the configuration file of a directory: `quiesce.toml`, or the table `[tool.quiesce]` of `pyproject.toml`.

And choose the journal, which may be named there. No pydantic and no typer: `quiesce status` needs this, too.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from orchestrator.journal import DEFAULT_JOURNAL
from runtime.errors import UsageError
from runtime.limits import show_value

FILE, PROJECT_FILE = "quiesce.toml", "pyproject.toml"
JOURNAL_VARIABLE: Final = "QUIESCE_JOURNAL"


class Origin(msgspec.Struct, frozen=True):
    """Where a value comes from: `kind` is option, environment, file, host or default; `place` names it."""

    kind: str
    place: str


DEFAULT: Final = Origin("default", "default")


def read_table(directory: str | os.PathLike[str] = ".") -> tuple[str, dict[str, Any]]:
    """Return the name and the content of the configuration file; no content if there is no file.

    Raises UsageError for a file that cannot be read or is not TOML.
    """
    for name, keys in ((FILE, ()), (PROJECT_FILE, ("tool", "quiesce"))):
        table: Any = _load(os.path.join(directory, name))
        for key in keys:
            table = table.get(key) if isinstance(table, dict) else None
        if table is None:
            continue
        if not isinstance(table, dict):
            raise UsageError(f"{name}: {'.'.join(keys)} is not a table")
        return (f"{name} [{'.'.join(keys)}]" if keys else name), table
    return FILE, {}


def read_text(key: str, value: object, source: str) -> str:
    """Return a value of the file that is text. Raises UsageError, which names the file and the key."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"{source}: {key} = {show_value(value)}: write text in quotes")
    return value


def choose_journal(
    option: str | None, environment: Mapping[str, str], directory: str | os.PathLike[str] = "."
) -> tuple[str, Origin]:
    """Return the location of the journal and where it was given: option, environment, file, or the default.

    Raises UsageError for a file that cannot be used.
    """
    if option:
        return option, Origin("option", "--journal")
    if environment.get(JOURNAL_VARIABLE):
        return environment[JOURNAL_VARIABLE], Origin("environment", JOURNAL_VARIABLE)
    name, table = read_table(directory)
    if "journal" in table:
        return read_text("journal", table["journal"], name), Origin(
            "file", os.path.join(os.path.abspath(directory), name)
        )
    return DEFAULT_JOURNAL, DEFAULT


def _load(path: str) -> dict[str, Any] | None:
    name = os.path.basename(path)
    try:
        with open(path, "rb") as file:
            content: dict[str, Any] = importlib.import_module("tomllib").load(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise UsageError(f"{name} is not TOML: {error}") from None
    return content
