"""Notify systemd of the state of a run, and ask it how long a stop may take.

Theory: sd_notify(3) sends one datagram a message to the socket that NOTIFY_SOCKET names. `next_messages`, a pure
function, decides what to send; `SdNotifyObserver` sends it. The supervision loop itself calls this observer, so a ping
for the watchdog proves that the loop turns.

Rejected: a package for sd_notify(3), because the whole protocol is Notifier below. RELOADING=1, because there is
nothing to reload (SIGHUP ends a run). BARRIER=1, because systemd reads its notifications before it looks at dead
children.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
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

_ASK_SECONDS: Final = 2.0
"""Seconds that a command of systemd may take to answer."""

# -- notifications ---------------------------------------------------------------------------------------------


class Notifier:
    """Datagram socket of sd_notify(3). Never blocks, never raises."""

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Notifier | None:
        """Return a notifier for NOTIFY_SOCKET: a path, or @name in the abstract namespace. None if it is not set."""
        address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
        return cls(address) if address.startswith(("/", "@")) else None

    def send(self, *assignments: str) -> bool:
        """Send assignments like READY=1, all in one message. Return whether the message was sent."""
        try:
            self._socket.sendto("\n".join(assignments).encode(), self._address)
        except OSError:  # systemd does not listen, or its queue is full
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


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
    """Return the assignments to send for a view, all in one message, and the state once they are sent. Pure.

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
    done = f"{view.completed + view.failed}/{view.accepted} done" if view.accepted else "starting"
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


class SdNotifyObserver:
    """Observer that sends the state of the run to systemd. The supervision loop calls it a few times a second."""

    def __init__(self, notifier: Notifier, watchdog: float | None = None) -> None:
        self._notifier = notifier
        self._watchdog = watchdog
        self._sent = NotifyState()

    @classmethod
    def from_environment(cls) -> SdNotifyObserver | None:
        """Return an observer for the NOTIFY_SOCKET of this process; None if it is not set."""
        notifier = Notifier.from_environment()
        return None if notifier is None else cls(notifier, ping_seconds(os.environ, os.getpid()))

    def __call__(self, view: StatusView) -> None:
        """Send the messages for this view. A message that cannot be sent is sent again with the next view."""
        sent, assignments = next_messages(self._sent, view, self._watchdog)
        while assignments and self._notifier.send(*assignments):
            self._sent = sent
            sent, assignments = next_messages(sent, view, self._watchdog)

    def close(self) -> None:
        """Close the notifier."""
        self._notifier.close()


def notify_already_finished(status: str) -> None:
    """Report a run that has nothing to do: systemd counts a service as failed if it ends before READY=1."""
    notifier = Notifier.from_environment()
    if notifier is not None:
        notifier.send("READY=1")
        notifier.send("STOPPING=1", f"STATUS={status}")
        notifier.close()


# -- questions -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServiceProperties:
    """The service of this process. `stop_seconds` is None if systemd waits without a limit."""

    unit: str
    is_main: bool
    kill_mode: str
    stop_seconds: float | None

    @property
    def stop_timeout_applies(self) -> bool:
        """Whether `stop_seconds` bounds this process too. A job of cron, for example, outlives a stop of cron."""
        return self.stop_seconds is not None and (self.is_main or self.kill_mode in ("control-group", "mixed"))


def current_service() -> ServiceProperties | None:
    """Ask systemd for the service of this process; None if there is none or systemd does not answer.

    Blocks for a few seconds at most. With dbus-daemon, the bus does not answer a user that systemd made up for the
    service (DynamicUser=): then the files of the unit are read.
    """
    invocation = os.environ.get("INVOCATION_ID")
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
            own = own_unit(file.read())
    except OSError:
        return None
    if invocation is None or own is None:
        return None
    unit, is_user = own
    names = "MainPID,KillMode,TimeoutStopUSec,InvocationID"
    shown = _ask("systemctl", *(["--user"] if is_user else []), "show", unit, "-p", names)
    if shown:
        return read_service(unit, shown, invocation, os.getpid())
    kind = "user" if is_user else "system"
    files = _ask("systemd-analyze", "cat-config", "--no-pager", f"systemd/{kind}/{unit}")
    return read_files(unit, files, is_main=os.environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())) if files else None


def _ask(*command: str) -> str:
    """Return the output of a command of systemd; nothing if it fails or takes too long."""
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_ASK_SECONDS,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def own_unit(cgroups: str) -> tuple[str, bool] | None:
    """Return the service named in /proc/self/cgroup, and whether a user's manager runs it."""
    for line in cgroups.splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        units = [part for part in path.split("/") if part.endswith(".service")]
        if controllers in ("", "name=systemd") and units:
            return units[-1], len(units) > 1 and units[0].startswith("user@")
    return None


def read_service(unit: str, shown: str, invocation: str, pid: int) -> ServiceProperties | None:
    """Return the service that `systemctl show` printed; None if it is another invocation than ours."""
    fields = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if fields.get("InvocationID") != invocation or "TimeoutStopUSec" not in fields:
        return None
    return ServiceProperties(
        unit, fields.get("MainPID") == str(pid), fields.get("KillMode", ""), parse_span(fields["TimeoutStopUSec"])
    )


def read_files(unit: str, text: str, *, is_main: bool) -> ServiceProperties:
    """Return the service that the files of a unit describe, drop-ins last: the last line of an option counts."""
    options = {"KillMode": "control-group", "TimeoutStopSec": "90"}
    for line in map(str.strip, text.splitlines()):
        name, separator, value = line.partition("=")
        if separator and not line.startswith(("#", ";")):
            options["TimeoutStopSec" if name.strip() == "TimeoutSec" else name.strip()] = value.strip()
    return ServiceProperties(unit, is_main, options["KillMode"], parse_span(options["TimeoutStopSec"]) or None)


_UNITS: Final = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0,
    "month": 2629800.0, "y": 31557600.0,
}  # fmt: skip


def parse_span(text: str) -> float | None:
    """Return the seconds of a time span as systemd prints it (`1min 30s`); None for `infinity` or other text."""
    parts = re.findall(r"([\d.]+)\s*([a-z]*)", text)
    if not parts or any(unit and unit not in _UNITS for _, unit in parts):
        return None
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
