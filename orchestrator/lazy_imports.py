"""Load modules on first use: while the guardian starts, which takes as long as loading them.

Callers have started the guardian, or have asyncio already.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from orchestrator.logging.sinks import Sink, TimedLog
from runtime.statuses import Severity


def make_log(sink: Sink, log_format: str, level: Severity, *, colors: bool, output_level: Severity | None) -> TimedLog:
    """Return the log that `orchestrator.logging.setup.make_log` makes."""
    made: TimedLog = importlib.import_module("orchestrator.logging.setup").make_log(
        sink, log_format, level, colors=colors, output_level=output_level
    )
    return made


def default_log(sink: Sink | None = None, level: Severity = Severity.WARNING) -> TimedLog:
    """Return the log that `orchestrator.logging.setup.default_log` makes."""
    made: TimedLog = importlib.import_module("orchestrator.logging.setup").default_log(sink, level)
    return made


def host_watcher(name: str, post: Callable[[Any], None]) -> Any:
    """Return the `orchestrator.host_watch.watcher.HostWatcher` of these arguments."""
    return importlib.import_module("orchestrator.host_watch.watcher").HostWatcher(name, post)


def asyncio() -> Any:
    """Return the asyncio module; for code that runs in an event loop, which has loaded it."""
    return importlib.import_module("asyncio")
