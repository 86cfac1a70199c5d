"""Complete the help of every command, so that all are alike.

- An option that takes no value shows none, where typer writes `<bool>`; any other one has the name of what it takes.
- Each default is shown as `(default: …)`, where typer writes `[default: …]` or nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from orchestrator.units import format_number

_FILTERS: Final = {"key", "kind", "status", "tail", "where"}
"""Parameters that choose some of what there is; without them it is all."""


def complete(group: Any) -> None:
    """Complete the help of a group and of its commands."""
    for command in (group, *group.commands.values()):
        for parameter in command.params:
            _complete_kind(parameter)
            _complete_default(parameter)


def _complete_kind(parameter: Any) -> None:
    """Name what a parameter takes, unless its author did, or it is one of some words, which typer shows."""
    if getattr(parameter, "is_flag", False):
        parameter.metavar = ""
    elif parameter.param_type_name == "argument":
        parameter.metavar = parameter.metavar or parameter.name.upper()
        parameter.display_type_rich = lambda **_: None  # newer versions of typer show `<str>` beside the name
    elif parameter.metavar is None and (kind := _kind(parameter)) is not None:
        parameter.metavar = kind


def _kind(parameter: Any) -> str | None:
    """Return a name for a plain text or number. What a type is called differs between versions of typer."""
    descriptor = getattr(parameter, "type_descriptor", None)
    kind = parameter.type.name if descriptor is None else getattr(descriptor.annotation, "__name__", "")
    return {"str": "TEXT", "text": "TEXT"}.get(kind, "N" if kind.startswith(("int", "float")) else None)


def _complete_default(parameter: Any) -> None:
    """Write the default into the help of a parameter that has none there. A flag without an opposite has none."""
    is_switch = getattr(parameter, "is_flag", False) and not parameter.secondary_opts
    text = getattr(parameter, "help", None) or ""
    parameter.show_default = False
    if parameter.required or is_switch or "(default: " in text:
        return
    is_filter = parameter.name in _FILTERS and not parameter.default
    parameter.help = f"{text} (default: {'all' if is_filter else _show(parameter.default)})".strip()


def _show(value: Any) -> str:
    value = value.value if isinstance(value, Enum) else value
    if value is None or value in ("", (), []):
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return format_number(value) if isinstance(value, int | float) else str(value)
