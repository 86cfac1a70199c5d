"""Ask systemd for the service of this process."""

from __future__ import annotations

import os

from orchestrator.integrations.host_command import ask_host
from orchestrator.integrations.systemd.service import ServiceProperties, own_unit, read_files, read_service


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
    shown = ask_host("systemctl", *(["--user"] if is_user else []), "show", unit, "-p", names)
    if shown:
        return read_service(unit, shown, invocation, os.getpid())
    kind = "user" if is_user else "system"
    files = ask_host("systemd-analyze", "cat-config", "--no-pager", f"systemd/{kind}/{unit}")
    return read_files(unit, files, is_main=os.environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())) if files else None
