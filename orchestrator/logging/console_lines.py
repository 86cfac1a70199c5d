"""Render log events as structlog's ConsoleRenderer and JSONRenderer do, without structlog. Pure.

Importing structlog (with rich and asyncio) takes ten times as long as starting an interpreter, for lines that are made
by a few formats. A contract test compares these lines with structlog's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

SPECIAL: Final = frozenset({"exc_info", "exception", "logger", "logger_name", "stack"})
"""Fields that structlog does not show as `name=value`."""

EVENT_WIDTH: Final = 22

_QUOTED: Final = frozenset(" \t=\r\n\"'")
_RESET, _BOLD, _DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
_NAME, _VALUE = "\x1b[36m", "\x1b[35m"
_LEVELS: Final = dict.fromkeys(("debug", "info"), "\x1b[32m") | {"warning": "\x1b[33m"}
_FAILURE: Final = "\x1b[31m"


def plain_line(name: str, level: str, stamp: str, fields: Mapping[str, Any]) -> str:
    """Return an event as a line of text for people."""
    pairs = "".join(f" {key}={_show(value)}" for key, value in fields.items())
    return f"{stamp} [{level:<9}] {name:<{EVENT_WIDTH}}{pairs}".rstrip(" ")


def coloured_line(name: str, level: str, stamp: str, fields: Mapping[str, Any]) -> str:
    """Return the same line with colours."""
    pairs = "".join(f" {_NAME}{key}{_RESET}={_VALUE}{_show(value)}{_RESET}" for key, value in fields.items())
    colour = _LEVELS.get(level, _FAILURE)
    return (
        f"{_DIM}{stamp}{_RESET} [{colour}{_BOLD}{level:<9}{_RESET}] {_BOLD}{name:<{EVENT_WIDTH}}{_RESET}{pairs}"
    ).rstrip(" ")


def json_line(name: str, level: str, stamp: str, fields: Mapping[str, Any]) -> str:
    """Return an event as a JSON object in ASCII, which has no control characters."""
    return json.dumps({**fields, "event": name, "level": level, "timestamp": stamp}, default=str)


def _show(value: object) -> str:
    if isinstance(value, str):
        return value if _QUOTED.isdisjoint(value) else repr(value)
    return repr(value)
