"""How many processes the kernel has killed for want of memory, and how much memory there may be.

The counter of the nearest cgroup that has one: `oom_kill` in `memory.events` (cgroup v2: processes of the cgroup and of
those below it, killed by any OOM killer), or in `memory.oom_control` (v1). Without one, `oom_kill` in /proc/vmstat,
which counts for the whole host (Linux 4.13).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_COUNT: Final = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_UNLIMITED: Final = 1 << 60
"""Bytes from which on a limit of cgroup v1 is none."""


class OomCounter:
    """Reads the counter. `root` is where the host's file system begins, for tests."""

    def __init__(self, root: str | Path = "/") -> None:
        self._root = Path(root)
        self._folders = list(self._find_folders())
        self._counter = next(self._find_counters(), None)

    def kills(self) -> int | None:
        """Return how many processes were killed so far; None if the host does not say."""
        if self._counter is None:
            return None
        return _read_count(self._counter)

    def limit(self) -> int | None:
        """Return the smallest limit of our cgroups in bytes, or else the host's memory; None if neither is known."""
        limits = [
            int(text)
            for folder in self._folders
            for name in ("memory.max", "memory.limit_in_bytes")
            if (text := _read(folder / name).strip()).isdigit() and int(text) < _UNLIMITED
        ]
        total = re.search(r"^MemTotal:\s+(\d+) kB$", _read(self._root / "proc/meminfo"), re.MULTILINE)
        if total is not None:
            limits.append(int(total[1]) << 10)
        return min(limits, default=None)

    def _find_folders(self) -> Iterator[Path]:
        """Yield our cgroup with the memory controller and those above it, the innermost first."""
        mounts = self._root / "sys/fs/cgroup"
        for line in _read(self._root / "proc/self/cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, place = rest.partition(":")
            if controllers and "memory" not in controllers.split(","):
                continue
            for mount in [mounts / "memory"] if controllers else [mounts, mounts / "unified"]:
                folder = mount / place.lstrip("/")
                while folder != mount and mount in folder.parents:
                    yield folder
                    folder = folder.parent
                yield mount  # in a container, whose cgroup is the root of what it sees

    def _find_counters(self) -> Iterator[Path]:
        for folder in self._folders:
            for name in ("memory.events", "memory.oom_control"):
                if _read_count(folder / name) is not None:
                    yield folder / name
        if _read_count(self._root / "proc/vmstat") is not None:
            yield self._root / "proc/vmstat"


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _read_count(path: Path) -> int | None:
    match = _COUNT.search(_read(path))
    return None if match is None else int(match[1])
