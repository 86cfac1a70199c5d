"""Read what systemd knows of the service of this process. Pure: text in, records out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


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
