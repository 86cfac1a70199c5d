"""Ask systemd for the service of this process."""

from __future__ import annotations

import os
import subprocess
from typing import Final

from orchestrator.integrations.systemd.service import ServiceProperties, own_unit, read_files, read_service

_ASK_SECONDS: Final = 2.0
"""Seconds that a command of systemd may take to answer."""


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
