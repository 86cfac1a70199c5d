"""A cgroup v2 leaf for a whole run, where the host permits one: a process that starts in it cannot escape unnoticed.

The guardian enters the leaf before it forks, so every executor and every descendant starts inside: a detached or
renamed process and one with a cleared environment, too. (Moving each executor would cost a kernel-wide
synchronisation each.) `cgroup.kill` (Linux 5.14, cgroups(7)) ends all of them at once, also when the guardian itself
was killed.

Under systemd a cgroup may only be divided where it was delegated (Delegate=yes): systemd marks it with an extended
attribute. Elsewhere, in a container or on a bare host, the kernel's permissions decide.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_MOUNTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
_SYSTEMD = Path("/run/systemd/system")


class RunCgroup:
    """The cgroup of one run."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @classmethod
    def at_own_cgroup(cls, name: str) -> RunCgroup | None:
        """Return the leaf below this process's cgroup; None where it must not or cannot be created."""
        own = _own_cgroup()
        if own is None or (_SYSTEMD.exists() and not _is_delegated(own)):
            return None
        return cls(own / name.replace("/", "_"))

    def create(self) -> bool:
        """Create the cgroup unless it exists. Return whether it exists and can be killed as a whole.

        The guardian calls this, not the supervisor: the process that creates it must outlive the other one.
        """
        try:
            self.path.mkdir()
        except FileExistsError:
            pass
        except OSError:
            return False
        if (self.path / "cgroup.kill").exists() and os.access(self.path / "cgroup.procs", os.W_OK):
            return True
        self.remove()
        return False

    def join(self) -> bool:
        """Move this process into the cgroup. Return whether that worked."""
        try:
            (self.path / "cgroup.procs").write_text("0", encoding="utf-8")
        except OSError:
            return False
        return True

    def leave(self) -> None:
        """Move this process to the parent cgroup, so that the leaf can be removed."""
        with suppress(OSError):
            (self.path.parent / "cgroup.procs").write_text("0", encoding="utf-8")

    def pids(self) -> list[int]:
        """Return the pids of the processes in the cgroup."""
        try:
            return [int(line) for line in (self.path / "cgroup.procs").read_text(encoding="utf-8").split()]
        except OSError:
            return []

    def kill(self) -> None:
        """Kill every process in the cgroup at once, one that is being forked included."""
        with suppress(OSError):
            (self.path / "cgroup.kill").write_text("1", encoding="utf-8")

    def thaw(self) -> None:
        """Thaw the cgroup if it is frozen (cgroup.freeze, Linux 5.2)."""
        for path in self._below():
            with suppress(OSError):
                (path / "cgroup.freeze").write_text("0", encoding="utf-8")

    def remove(self, timeout: float = 0.0) -> bool:
        """Remove the cgroup. Return whether it is gone: with processes in it, ending ones included, it stays.

        Waits for ending processes at most `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while True:
            for path in self._below():
                with suppress(OSError):
                    path.rmdir()
            if not self.path.exists():
                return True
            if time.monotonic() >= end:
                return False
            time.sleep(0.005)

    def _below(self) -> list[Path]:
        """Return the leaf and the cgroups below it (of a run inside of the run), the innermost first."""
        found = [Path(root) for root, _, _ in os.walk(self.path, topdown=False)]
        return found or [self.path]


def _own_cgroup() -> Path | None:
    """Return this process's cgroup in the v2 hierarchy of a unified or a hybrid host."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return _search_own_cgroup()
    place = next((line[3:] for line in lines if line.startswith("0::")), None)
    if place is None:
        return None
    for mount in _MOUNTS:
        if (mount / "cgroup.procs").exists() or (mount / "cgroup.controllers").exists():
            return mount / place.lstrip("/")
    return None


def _search_own_cgroup() -> Path | None:
    """Find the cgroup that lists this process: the only way without /proc."""
    own = str(os.getpid())
    for mount in _MOUNTS:
        if not (mount / "cgroup.controllers").exists():
            continue
        for folder, _, _ in os.walk(mount):
            with suppress(OSError):
                if own in Path(folder, "cgroup.procs").read_text(encoding="utf-8").split():
                    return Path(folder)
    return None


def _is_delegated(path: Path) -> bool:
    for name in ("user.delegate", "trusted.delegate"):
        with suppress(OSError):
            if os.getxattr(path, name) == b"1":
                return True
    return False
