"""Named log events, through structlog. Every one that the supervisor writes is listed in docs/log-events.md.

Loaded while the guardian starts: structlog and what it brings take longer than the rest of the supervisor.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import structlog

from orchestrator.sinks import Log, Sink, standard_error
from runtime.model import Severity

_LEVELS = {severity: logging.getLevelName(severity.name) for severity in Severity}


def make_log(sink: Sink, log_format: str, level: Severity = Severity.INFO, *, colors: bool = False) -> Log:
    """A Log that writes `console` lines for people or `json` ones for machines, from `level` on."""
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=log_format == "json"),
    ]
    if log_format == "json":
        shared.append(structlog.processors.JSONRenderer(default=str))
    else:
        shared[1] = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        shared.append(structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=22, sort_keys=False))
    logger = structlog.wrap_logger(
        _SinkLogger(sink),
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    ).bind()
    return _adapter(logger)


def default_log() -> Log:
    """For a program that uses the library: its own structlog, if it configured one; else warnings on stderr."""
    if structlog.is_configured():
        return _adapter(structlog.get_logger("quiesce"))
    return make_log(standard_error(), "console", Severity.WARNING)


def _adapter(logger: Any) -> Log:
    def log(name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        logger.log(_LEVELS[severity], name, **fields)

    return log


class _SinkLogger:
    """What structlog calls at the end of its chain."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def msg(self, message: str) -> None:
        """One rendered line."""
        self._sink.write_line(message)

    log = debug = info = warning = error = critical = msg
