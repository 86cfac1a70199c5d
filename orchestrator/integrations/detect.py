"""What this process finds around it, as the command line wants it: who listens, what is granted, where logs go."""

from __future__ import annotations

from orchestrator import late
from orchestrator.engine.loop import Observer
from orchestrator.integrations.systemd.notify import SdNotifyObserver, current_service
from orchestrator.logging import journald
from orchestrator.logging.sinks import BackgroundLog, Sink, TimedLog
from runtime.model import Severity


def detect_observers() -> list[Observer]:
    """Those who are to be told how the run stands."""
    herald = SdNotifyObserver.here()
    return [] if herald is None else [herald]


def granted_seconds() -> float | None:
    """What the host grants between its SIGTERM and its SIGKILL; None if there is no limit, or none to be known."""
    service = current_service()
    return service.stop_seconds if service is not None and service.stop_timeout_applies else None


def log(run_id: str, sink: Sink, log_format: str, level: Severity, *, colors: bool) -> TimedLog:
    """Entries with fields where people would read lines and standard error is systemd's journal; else lines."""
    native = journald.journald_log(run_id, level) if log_format == "console" else None
    if native is not None:
        return BackgroundLog(native)
    return late.make_log(sink, log_format, level, colors=colors)
