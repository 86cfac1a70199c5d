"""Render log events as lines, for people or as JSON, as structlog does. docs/log-events.md lists the events.

structlog itself is loaded for a program that has configured it, and for a rare line with fields of its own kind.
"""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.logging.console_lines import EVENT_WIDTH, SPECIAL, coloured_line, json_line, plain_line
from orchestrator.logging.output_text import OUTPUT_EVENT, output_text
from orchestrator.logging.sinks import BackgroundLog, Sink, TimedLog, standard_error
from runtime.statuses import Severity
from runtime.text import printable_value

_LEVELS = {severity: logging.getLevelName(severity.name) for severity in Severity}

Render = Callable[[str, str, float, Mapping[str, Any]], str]
"""Render an event's name, level, time (Unix seconds) and fields as one line."""


class LineLog:
    """TimedLog that writes one line an event, from `level` on, and agents' output from `output_level` on."""

    def __init__(self, sink: Sink, render: Render, level: Severity, output_level: Severity) -> None:
        self._sink = sink
        self._render = render
        self._shown = _names_from(level)
        self._shown_output = _names_from(output_level)

    def __call__(self, name: str, severity: Severity, fields: Mapping[str, Any], at: float | None = None) -> None:
        """Write one event as a line, unless its level is too low."""
        level = (self._shown_output if name == OUTPUT_EVENT else self._shown).get(severity)
        if level is not None:
            self._sink.write_line(self._render(name, level, time.time() if at is None else at, fields))

    def is_congested(self) -> bool:
        """Return whether lines come faster than they are written."""
        return self._sink.is_congested()

    def flush(self, limit: float | None = None) -> bool:
        """Flush the sink."""
        return self._sink.flush(limit)


def _names_from(level: Severity) -> dict[Severity, str]:
    return {severity: severity.name.lower() for severity in Severity if _LEVELS[severity] >= _LEVELS[level]}


def make_log(
    sink: Sink,
    log_format: str,
    level: Severity = Severity.INFO,
    *,
    colors: bool = False,
    output_level: Severity | None = None,
) -> TimedLog:
    """Return a log that writes `console` lines for people or `json` lines for machines, from `level` on.

    `output_level`: the same for the output of agents. (default: as `level`)
    """
    render = _json_renderer() if log_format == "json" else _console_renderer(colors=colors)
    return LineLog(sink, render, level, level if output_level is None else output_level)


def _json_renderer() -> Render:
    """Return a renderer of JSON in ASCII, which has no control characters."""

    def render(name: str, level: str, at: float, fields: Mapping[str, Any]) -> str:
        stamp = datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        return json_line(name, level, stamp, fields)

    return render


def _console_renderer(*, colors: bool) -> Render:
    """Return a renderer for people. The only escape codes in its lines are those of colours."""
    make_line = coloured_line if colors else plain_line

    def render(name: str, level: str, at: float, fields: Mapping[str, Any]) -> str:
        if name == OUTPUT_EVENT:
            return output_text(fields, level, colors=colors)
        shown = {key: printable_value(value) for key, value in fields.items()}
        stamp = time.strftime("%H:%M:%S", time.localtime(at))
        if not SPECIAL.isdisjoint(shown):
            show = _structlog_renderer(colors=colors)
            return str(show(None, name, {**shown, "event": name, "level": level, "timestamp": stamp}))
        return make_line(name, level, stamp, shown)

    return render


@functools.cache
def _structlog_renderer(*, colors: bool) -> Any:
    dev: Any = importlib.import_module("structlog").dev
    return dev.ConsoleRenderer(colors=colors, pad_event_to=EVENT_WIDTH, sort_keys=False)


def default_log(sink: Sink | None = None, level: Severity = Severity.WARNING) -> TimedLog:
    """Return the log of a program that gave none: its structlog if it configured one, else lines on stderr.

    sink: where these lines go, if not to standard error. level: the least severe ones.
    """
    structlog: Any = sys.modules.get("structlog")  # a program that has configured it has imported it
    if structlog is not None and structlog.is_configured():
        return BackgroundLog(_adapter(structlog.get_logger("quiesce")))
    return make_log(sink or standard_error(), "console", level)


def _adapter(logger: Any) -> Callable[[str, Severity, Mapping[str, Any]], None]:
    def log(name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        logger.log(_LEVELS[severity], name, **fields)

    return log
