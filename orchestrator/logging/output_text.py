"""Render a line of an agent's output for people: after the key of its task, without what drives a terminal. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from runtime.text import printable

OUTPUT_EVENT: Final = "executor.output"
"""The log event of a line of output."""

_STYLES: Final = re.compile(r"\x1b\[[0-9;:]*m")
"""Colours and the like (ECMA-48, SGR): they are left out, and are no loss. Other control characters are shown."""


def output_text(fields: Mapping[str, Any], level: str, *, colors: bool = False) -> str:
    """Return the lines of an `executor.output` event, each after the key: `KEY | text`."""
    text = _STYLES.sub("", fields["line"])
    if fields.get("logger"):
        text = f"{level.upper()} {fields['logger']}: {text}"
    head = f"{printable(name_of(fields))} |"
    if colors:
        head = f"\x1b[2m{head}\x1b[0m"
    return "\n".join(f"{head} {printable(line)}".rstrip() for line in text.split("\n"))


def name_of(fields: Mapping[str, Any]) -> str:
    """Return the key of the task; of what belongs to none, the executor."""
    if "key" in fields:
        return str(fields["key"])
    return f"task {fields['task']}" if "task" in fields else f"executor {fields['slot']}"
