"""systemd as our parent: what it is told while a run goes on, and what it grants.

sd_notify(3) is one datagram a message to the socket that NOTIFY_SOCKET names; that is all that is needed of it, so it
is written out here. `next_messages`, a pure function, decides what to say; `SdNotifyObserver` says it as an Observer:
the supervision loop itself calls it, so a watchdog's ping proves that the loop turns.

Never said: RELOADING=1, because there is nothing to reload (SIGHUP ends a run), and BARRIER=1, because systemd reads
its notifications before it looks at dead children.
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
from runtime.text import single_line

STATUS_SECONDS: Final = 1.0
"""A status is renewed no more often than this."""

EXTENSION: Final = 10.0
"""Seconds that systemd is asked to wait for the next word, again and again, while a stop goes on."""

MARGIN: Final = 10.0
"""Seconds beyond the ladder for which it is still asked: the last sweep, the last commit."""

_WHY: Final = 200
"""Characters of a reason in a status: of a datagram that is longer than 4 KiB, systemd reads nothing."""

_ASK_SECONDS: Final = 2.0
"""How long systemd may take to answer a question."""

# -- telling it ------------------------------------------------------------------------------------------------


class Notifier:
    """The datagram socket of sd_notify(3). Never blocks, never raises."""

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    @classmethod
    def here(cls, environment: Mapping[str, str] | None = None) -> Notifier | None:
        """The socket that NOTIFY_SOCKET names: a path, or @name in the abstract namespace. None without one."""
        address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
        return cls(address) if address.startswith(("/", "@")) else None

    def send(self, *words: str) -> bool:
        """Send assignments like READY=1, all in one message. Whether it went out."""
        try:
            self._socket.sendto("\n".join(words).encode(), self._address)
        except OSError:  # nobody listens, or it is too busy just now
            return False
        return True

    def close(self) -> None:
        """Close our end."""
        self._socket.close()


@dataclass(frozen=True, slots=True)
class NotifyState:
    """What systemd was told so far, and when (monotonic seconds). `ends_at`: a stop is over by then."""

    ready: bool = False
    stopping: bool = False
    status: str = ""
    status_at: float = float("-inf")
    pinged_at: float = float("-inf")
    extended_at: float = float("-inf")
    ends_at: float = 0.0


def next_messages(told: NotifyState, view: StatusView, watchdog: float | None) -> tuple[NotifyState, list[str]]:
    """What to say of a view, in one message, and what will have been said then. Pure.

    `watchdog`: seconds between pings at most. READY=1 goes alone: in a message with STOPPING=1 it would be overheard.
    """
    if not told.ready and _has_begun(view):
        return replace(told, ready=True), ["READY=1"]
    words: list[str] = []
    now = view.at
    if view.phase is not Phase.RUNNING:
        if not told.stopping:
            told = replace(told, stopping=True, ends_at=now + (view.stop_bound or 0.0) + MARGIN)
            words.append("STOPPING=1")
        if now < told.ends_at and now - told.extended_at >= EXTENSION / 10:
            told = replace(told, extended_at=now)
            words.append(f"EXTEND_TIMEOUT_USEC={int(min(EXTENSION, told.ends_at - now) * 1e6)}")
    status = status_line(view)
    if status != told.status and (now - told.status_at >= STATUS_SECONDS or words):
        told = replace(told, status=status, status_at=now)
        words.append(f"STATUS={status}")
    if watchdog is not None and now - told.pinged_at >= watchdog:
        told = replace(told, pinged_at=now)
        words.append("WATCHDOG=1")
    return told, words


def _has_begun(view: StatusView) -> bool:
    """The first executor is ready and there is work; or there was, and all of it is done already."""
    if view.phase is Phase.RUNNING:
        return view.accepted > 0 and any(one.state == SlotState.READY for one in view.executors)
    return view.accepted > 0 and view.signal is None


def status_line(view: StatusView) -> str:
    """How it stands, in words: `312/1600 done, 4 executors, 2 failed`."""
    executors = len(view.executors)
    done = f"{view.completed + view.failed}/{view.accepted} done" if view.accepted else "starting"
    line = f"{done}, {executors} executor{'s' if executors != 1 else ''}"
    line += f", {view.failed} failed" if view.failed else ""
    if view.signal is not None:
        why = single_line(view.signal.message or view.signal.reason.value, _WHY)
        line = f"stopping ({why}): {line}"
    return line


def ping_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """How often the watchdog wants to hear of us: four times as often as it must. None: it does not."""
    for_whom = environment.get("WATCHDOG_PID", str(pid))
    usec = environment.get("WATCHDOG_USEC", "")
    if for_whom != str(pid) or not usec.isdigit() or int(usec) == 0:
        return None
    return int(usec) / 4e6


class SdNotifyObserver:
    """Tells systemd how the run stands. An Observer: called by the supervision loop, a few times a second."""

    def __init__(self, notifier: Notifier, watchdog: float | None = None) -> None:
        self._notifier = notifier
        self._watchdog = watchdog
        self._told = NotifyState()

    @classmethod
    def here(cls) -> SdNotifyObserver | None:
        """The one for this process's NOTIFY_SOCKET; None without one."""
        notifier = Notifier.here()
        return None if notifier is None else cls(notifier, ping_seconds(os.environ, os.getpid()))

    def __call__(self, view: StatusView) -> None:
        """Say what is to be said of this view; what did not go out is said again at the next one."""
        told, words = next_messages(self._told, view, self._watchdog)
        while words and self._notifier.send(*words):
            self._told = told
            told, words = next_messages(told, view, self._watchdog)

    def close(self) -> None:
        """Close our end."""
        self._notifier.close()


def notify_already_finished(status: str) -> None:
    """There is nothing to do: a service that ends before it was ready would count as failed."""
    notifier = Notifier.here()
    if notifier is not None:
        notifier.send("READY=1")
        notifier.send("STOPPING=1", f"STATUS={status}")
        notifier.close()


# -- asking it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServiceProperties:
    """The service that this process belongs to. `stop_seconds` is None where systemd waits for ever."""

    unit: str
    is_main: bool
    kill_mode: str
    stop_seconds: float | None

    @property
    def stop_timeout_applies(self) -> bool:
        """Whether the end of `stop_seconds` is ours too: cron's jobs, say, outlive a stop of cron."""
        return self.stop_seconds is not None and (self.is_main or self.kill_mode in ("control-group", "mixed"))


def current_service() -> ServiceProperties | None:
    """Ask systemd about our own service. None: there is none, or it does not say. Blocking, some seconds at most.

    Its bus does not answer a user that was made up for the service (DynamicUser=, with dbus-daemon): then the unit's
    files are read.
    """
    invocation = os.environ.get("INVOCATION_ID")
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
            found = own_unit(file.read())
    except OSError:
        return None
    if invocation is None or found is None:
        return None
    unit, is_user = found
    names = "MainPID,KillMode,TimeoutStopUSec,InvocationID"
    shown = _ask("systemctl", *(["--user"] if is_user else []), "show", unit, "-p", names)
    if shown:
        return read_service(unit, shown, invocation, os.getpid())
    kind = "user" if is_user else "system"
    files = _ask("systemd-analyze", "cat-config", "--no-pager", f"systemd/{kind}/{unit}")
    return read_files(unit, files, is_main=os.environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())) if files else None


def _ask(*command: str) -> str:
    """What a tool of systemd's says; nothing if it fails, or takes too long."""
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
    """The service in /proc/self/cgroup, and whether it is one of a user's manager."""
    for line in cgroups.splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        units = [part for part in path.split("/") if part.endswith(".service")]
        if controllers in ("", "name=systemd") and units:
            return units[-1], len(units) > 1 and units[0].startswith("user@")
    return None


def read_service(unit: str, shown: str, invocation: str, pid: int) -> ServiceProperties | None:
    """What `systemctl show` said; None when that is not the invocation that we are part of."""
    fields = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if fields.get("InvocationID") != invocation or "TimeoutStopUSec" not in fields:
        return None
    return ServiceProperties(
        unit, fields.get("MainPID") == str(pid), fields.get("KillMode", ""), parse_span(fields["TimeoutStopUSec"])
    )


def read_files(unit: str, text: str, *, is_main: bool) -> ServiceProperties:
    """What a unit's files say, its drop-ins behind it: of each option, the last line counts."""
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
    """Seconds, from how systemd writes a span of time: `1min 30s`. None for `infinity`, or what cannot be read."""
    found = re.findall(r"([\d.]+)\s*([a-z]*)", text)
    if not found or any(unit and unit not in _UNITS for _, unit in found):
        return None
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in found)
