"""How many processors this process may use: the default number of executors.

`os.cpu_count()` is the machine's number. Ours is the smallest of the affinity mask (sched_getaffinity(2), taskset,
cpusets) and the quotas of our cgroup and of those above it, in version 2 (`cpu.max`) and 1 (`cpu.cfs_quota_us`). Part
of a processor counts as one, as in Java and joblib: a quota of 1.5 leaves two executors busy most of the time.
`-X cpu_count=N` and PYTHON_CPU_COUNT, which CPython has since 3.13, override all of it, and are read by us in older
versions.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc/self")


def usable_cpus(proc: Path = _PROC) -> int:
    """Return the number of processors that this process may use, at least 1."""
    chosen = _chosen()
    if chosen is not None:
        return chosen
    return max(1, min([_affinity(), *(math.ceil(quota) for quota in quotas(proc))]))


def _affinity() -> int:
    """Those that the kernel may run this process on; all, where there is no such thing or a sandbox does not tell."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def _chosen() -> int | None:
    """Return the count given to Python by option or environment (the option wins), or None."""
    text = sys._xoptions.get("cpu_count")  # noqa: SLF001 - documented under -X: "accessible through sys._xoptions"
    if text is None and not sys.flags.ignore_environment:
        text = os.environ.get("PYTHON_CPU_COUNT")
    if isinstance(text, str) and text.isascii() and text.isdecimal():
        return max(1, int(text))
    return None  # nothing, or "default"; CPython itself refuses anything else since 3.13


def quotas(proc: Path = _PROC) -> list[float]:
    """Return the limits, in processors, of the cgroup that /proc/self is in, and of all above it."""
    limits: list[float] = []
    with suppress(OSError, ValueError):  # no /proc, or not that of our PID namespace: no limit is known
        mounts = list(_mounts((proc / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape")))
        for line in (proc / "cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            number, controllers, path = line.split(":", 2)
            kind = "cgroup2" if number == "0" and not controllers else "cgroup"
            if kind == "cgroup2" or "cpu" in controllers.split(","):
                for folder in _folders(kind, path, mounts):
                    limits.extend(_quota(folder))
    return limits


def _mounts(text: str) -> Iterator[tuple[str, str, str, list[str]]]:
    """Kind, root, mount point and options of each mount (proc_pid_mountinfo(5))."""
    for line in text.splitlines():
        mount, _, system = line.partition(" - ")
        fields, filesystem = mount.split(), system.split()
        if len(fields) > 4 and len(filesystem) > 2:
            yield filesystem[0], fields[3], fields[4], filesystem[2].split(",")


def _folders(kind: str, path: str, mounts: list[tuple[str, str, str, list[str]]]) -> Iterator[Path]:
    """Yield the directories of a cgroup and of those above it, as far as they are mounted."""
    for mounted, root, place, options in mounts:
        if mounted != kind or (kind == "cgroup" and "cpu" not in options):
            continue
        inside = os.path.relpath(path, root) if path.startswith(root) else "."
        folder = Path(place) if inside.startswith("..") else Path(place, inside)
        while True:
            yield folder
            if folder == Path(place):
                return
            folder = folder.parent


def _quota(folder: Path) -> list[float]:
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return [] if quota == "max" else [int(quota) / int(period)]
    with suppress(OSError, ValueError):
        allowed = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
        return [] if allowed <= 0 else [allowed / int((folder / "cpu.cfs_period_us").read_text(encoding="utf-8"))]
    return []
