"""Decide what is sent to systemd about a run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.core.status import Phase, StatusView
from orchestrator.core.transitions import SlotState
from runtime.stop_limits import SERVICE_MARGIN
from runtime.text import single_line

STATUS_SECONDS: Final = 1.0
"""Least seconds between two STATUS messages."""

EXTENSION: Final = 10.0
"""Seconds by which each EXTEND_TIMEOUT_USEC message extends systemd's stop timeout during a stop."""

_REASON_LENGTH: Final = 200
"""Most characters of a reason in a status: systemd ignores a datagram that is longer than 4 KiB."""


@dataclass(frozen=True, slots=True)
class NotifyState:
    """What was sent to systemd so far, and when (monotonic seconds). `ends_at`: when a stop must be over."""

    ready: bool = False
    stopping: bool = False
    status: str = ""
    status_at: float = float("-inf")
    pinged_at: float = float("-inf")
    extended_at: float = float("-inf")
    ends_at: float = 0.0


def next_messages(sent: NotifyState, view: StatusView, watchdog: float | None) -> tuple[NotifyState, list[str]]:
    """Return the assignments to send for a view, all in one message, and the state once they are sent.

    `watchdog`: most seconds between pings. READY=1 is sent alone: systemd would ignore it beside STOPPING=1.
    """
    if not sent.ready and _has_begun(view):
        return replace(sent, ready=True), ["READY=1"]
    assignments: list[str] = []
    now = view.at
    if view.phase is not Phase.RUNNING:
        if not sent.stopping:
            sent = replace(sent, stopping=True, ends_at=now + (view.stop_bound or 0.0) + SERVICE_MARGIN)
            assignments.append("STOPPING=1")
        if now < sent.ends_at and now - sent.extended_at >= EXTENSION / 10:
            sent = replace(sent, extended_at=now)
            assignments.append(f"EXTEND_TIMEOUT_USEC={int(min(EXTENSION, sent.ends_at - now) * 1e6)}")
    status = status_line(view)
    if status != sent.status and (now - sent.status_at >= STATUS_SECONDS or assignments):
        sent = replace(sent, status=status, status_at=now)
        assignments.append(f"STATUS={status}")
    if watchdog is not None and now - sent.pinged_at >= watchdog:
        sent = replace(sent, pinged_at=now)
        assignments.append("WATCHDOG=1")
    return sent, assignments


def _has_begun(view: StatusView) -> bool:
    """Return whether the first executor is ready and there is work, or all the work is done already."""
    if view.phase is Phase.RUNNING:
        return view.accepted > 0 and any(executor.state == SlotState.READY for executor in view.executors)
    return view.accepted > 0 and view.signal is None


def status_line(view: StatusView) -> str:
    """Return the state of the run in words: `312/1600 done, 4 executors, 2 failed`."""
    executors = len(view.executors)
    done = f"{view.finished}/{view.accepted} done" if view.accepted else "starting"
    line = f"{done}, {executors} executor{'s' if executors != 1 else ''}"
    line += f", {view.failed} failed" if view.failed else ""
    if view.signal is not None:
        reason = single_line(view.signal.message or view.signal.reason.value, _REASON_LENGTH)
        line = f"stopping ({reason}): {line}"
    return line


def ping_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds between pings: a quarter of the watchdog's timeout. None if this process has no watchdog."""
    watched_pid = environment.get("WATCHDOG_PID", str(pid))
    usec = environment.get("WATCHDOG_USEC", "")
    if watched_pid != str(pid) or not usec.isdigit() or int(usec) == 0:
        return None
    return int(usec) / 4e6
