"""Detect the host of this process for the command line: its observers, the grace it grants, and where logs go."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator import lazy_imports
from orchestrator.config import Settings
from orchestrator.engine.status_board import Observer
from orchestrator.integrations.slurm.job import WARNINGS
from orchestrator.integrations.slurm.job_query import JobLimits, current_job
from orchestrator.integrations.systemd.notify import SdNotifyObserver
from orchestrator.integrations.systemd.service_query import current_service
from orchestrator.logging import journald
from orchestrator.logging.sinks import BackgroundLog, Sink, TimedLog
from runtime.statuses import Severity


def detect_observers() -> list[Observer]:
    """Return the observers that this host asks for: systemd's notifications, if it set NOTIFY_SOCKET."""
    observer = SdNotifyObserver.from_environment()
    return [] if observer is None else [observer]


@dataclass(frozen=True, slots=True)
class HostValue:
    """The value of a setting that this host has given, and where it is from, for people."""

    value: Any
    origin: str


def host_settings() -> dict[str, HostValue]:
    """Return the settings that depend on where this process runs: a job of Slurm, or a service of systemd.

    Blocks for a few seconds at most.
    """
    limits = current_job()
    if limits is not None:
        return _settings_of_job(limits)
    service = current_service()
    if service is None or not service.stop_timeout_applies or service.stop_seconds is None:
        return {}
    return {"host_grace": HostValue(service.stop_seconds, "TimeoutStopSec of the systemd service")}


def add_host_settings(settings: Settings, found: Mapping[str, HostValue]) -> Settings:
    """Return the settings, with those that were not given as this host has them."""
    missing = {name: host.value for name, host in found.items() if getattr(settings, name) is None}
    return settings.model_copy(update=missing)  # `workers` stays a default, which the journal does not keep


def _settings_of_job(limits: JobLimits) -> dict[str, HostValue]:
    values = {
        "host_grace": HostValue(limits.kill_wait, "KillWait of Slurm"),
        "stop_on": HostValue(WARNINGS, "a job of Slurm"),
    }
    if limits.seconds_left is not None:
        values["host_ends_at"] = HostValue(time.monotonic() + limits.seconds_left, "the time limit of the Slurm job")
    return values


def log(
    run_id: str, sink: Sink, log_format: str, level: Severity, *, colors: bool, output_level: Severity | None = None
) -> TimedLog:
    """Return a log: journal entries if console lines would go to systemd's journal on standard error, else lines."""
    native = journald.journald_log(run_id, level) if log_format == "console" else None
    if native is not None:
        return BackgroundLog(native)
    return lazy_imports.make_log(sink, log_format, level, colors=colors, output_level=output_level)
