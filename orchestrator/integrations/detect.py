"""Detect the host of this process for the command line: its observers, the grace it grants, and where logs go."""

from __future__ import annotations

from orchestrator import lazy_imports
from orchestrator.engine.status_board import Observer
from orchestrator.integrations.systemd.notify import SdNotifyObserver
from orchestrator.integrations.systemd.service_query import current_service
from orchestrator.logging import journald
from orchestrator.logging.sinks import BackgroundLog, Sink, TimedLog
from runtime.model import Severity


def detect_observers() -> list[Observer]:
    """Return the observers that this host asks for: systemd's notifications, if it set NOTIFY_SOCKET."""
    observer = SdNotifyObserver.from_environment()
    return [] if observer is None else [observer]


def granted_seconds() -> float | None:
    """Return the seconds that the host grants between SIGTERM and SIGKILL; None if no limit is known."""
    service = current_service()
    return service.stop_seconds if service is not None and service.stop_timeout_applies else None


def log(
    run_id: str, sink: Sink, log_format: str, level: Severity, *, colors: bool, output_level: Severity | None = None
) -> TimedLog:
    """Return a log: journal entries if console lines would go to systemd's journal on standard error, else lines."""
    native = journald.journald_log(run_id, level) if log_format == "console" else None
    if native is not None:
        return BackgroundLog(native)
    return lazy_imports.make_log(sink, log_format, level, colors=colors, output_level=output_level)
