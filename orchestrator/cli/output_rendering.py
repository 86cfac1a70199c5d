"""Render lines of output that the journal keeps: objects for --json, lines for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from orchestrator.core.output import KeptLine
from orchestrator.logging.output_text import output_text


def kept_line_object(line: KeptLine) -> dict[str, Any]:
    """Return a line as an object."""
    return {
        "at": datetime.fromtimestamp(line.at, UTC).isoformat(timespec="microseconds"),
        "stream": line.stream,
        "level": line.severity,
        "logger": line.logger or None,
        "line": line.text,
    }


def kept_line_text(line: KeptLine, key: str | None, slot: int) -> str:
    """Return a line after the key of its task; without a key, after its executor."""
    name = {} if key is None else {"key": key}
    return output_text({"slot": slot, "line": line.text, "logger": line.logger, **name}, line.severity.value)
