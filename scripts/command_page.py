"""Make the page of the site that lists every command with its options: from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from typing import Any

from orchestrator.cli import build

EXIT_CODES = """
## Exit codes

| what happened | how the process ends |
|---|---|
| `run`, `resume`, `retry`: every task completed | 0 |
| finished, some tasks failed | 1 |
| wrong usage, bad configuration, bad input, refused journal | 2, with one line on standard error |
| interrupted by SIGINT, SIGTERM or SIGHUP | death by that signal, after everything is flushed; as PID 1: 128 + n |
| interrupted by a deadline, a limit or a request | 75 (EX_TEMPFAIL): `quiesce resume` continues it |
| a query (`runs`, `results`, `show` …) found what was asked | 0 |
| `results --follow`: the run has ended before all its tasks have | 75 |
| `interrupt`: no living supervisor has the run | 1 |
| a query was asked for a run, task or journal that there is not | 2 |

`--interrupted-exit-code N` replaces death by a signal and 75.
"""


def render() -> str:
    """Return the page."""
    group: Any = build()
    parts = ["# The command line", group.help, _table(group.params)]
    for name, command in group.commands.items():
        parts += [f"## quiesce {name}", f"`{_usage(name, command)}`", _text(inspect.cleandoc(command.help or ""))]
        parts.append(_table([parameter for parameter in command.params if not _is_common(parameter, group)]))
    return "\n\n".join([*parts, EXIT_CODES.strip(), ""])


def _is_common(parameter: Any, group: Any) -> bool:
    """Return whether an option is one that all commands have, which the head of the page lists."""
    return any(parameter.opts == common.opts for common in group.params)


def _usage(name: str, command: Any) -> str:
    words = [parameter.metavar for parameter in command.params if parameter.param_type_name == "argument"]
    return " ".join(["quiesce", name, *words, "[OPTIONS]"])


def _table(parameters: list[Any]) -> str:
    rows = ["| name | value | meaning |", "|---|---|---|"]
    for parameter in parameters:
        rows.append(f"| {' '.join(_names(parameter))} | {_value(parameter)} | {_cell(parameter.help)} |")
    return "\n".join(rows)


def _names(parameter: Any) -> Iterator[str]:
    if parameter.param_type_name == "argument":
        yield f"`{parameter.metavar}`"
    else:
        yield from (f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))


def _value(parameter: Any) -> str:
    if parameter.param_type_name == "argument" or getattr(parameter, "is_flag", False):
        return ""
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if isinstance(kind, type) and issubclass(kind, Enum) and parameter.metavar is None:
        return ", ".join(f"`{word.value}`" for word in kind)
    return f"`{_cell(parameter.metavar)}`"


def _cell(text: str | None) -> str:
    return _text(" ".join((text or "").split())).replace("|", "\\|")


def _text(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")
