"""What takes long to load and is needed only once the guardian is starting, which takes as long: loaded when called.

structlog (with rich) and asyncio are a third of the supervisor's imports. Whoever calls here has started the guardian,
or has asyncio already.
"""

from __future__ import annotations

import importlib
from typing import Any

from orchestrator.logging.sinks import Sink, TimedLog
from runtime.model import Severity


def make_log(sink: Sink, log_format: str, level: Severity, *, colors: bool) -> TimedLog:
    """See orchestrator.logging.setup."""
    made: TimedLog = importlib.import_module("orchestrator.logging.setup").make_log(
        sink, log_format, level, colors=colors
    )
    return made


def default_log() -> TimedLog:
    """See orchestrator.logging.setup."""
    made: TimedLog = importlib.import_module("orchestrator.logging.setup").default_log()
    return made


def asyncio() -> Any:
    """The module; for code that runs in an event loop, so that it is there."""
    return importlib.import_module("asyncio")
