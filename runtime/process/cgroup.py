"""A cgroup v2 leaf for a whole run, where the host lets us make one: what is born in it cannot leave it unnoticed.

The guardian enters the leaf before it forks anybody, so every executor and descendant is born inside: detached,
renamed, with a cleared environment, it makes no difference. (Moving each executor would cost a kernel-wide
synchronisation a time.) `cgroup.kill` (Linux 5.14, cgroups(7)) ends all of them at once, also when the guardian itself
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
    """One run's cgroup."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @classmethod
    def at_own_cgroup(cls, name: str) -> RunCgroup | None:
        """Where a leaf may be made below our own cgroup; None where there is no such place, or it is not ours."""
        own = _own_cgroup()
        if own is None or (_SYSTEMD.exists() and not _is_delegated(own)):
            return None
        return cls(own / name.replace("/", "_"))

    def create(self) -> bool:
        """Make it, or find it made. Whether it is there and can do what it is for.

        For the guardian, not for the supervisor: whoever makes it must be the one who outlives the other.
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
        """Move this process in. Whether that worked."""
        try:
            (self.path / "cgroup.procs").write_text("0", encoding="utf-8")
        except OSError:
            return False
        return True

    def leave(self) -> None:
        """Move this process out, to where the leaf was made: nobody else is left to remove it."""
        with suppress(OSError):
            (self.path.parent / "cgroup.procs").write_text("0", encoding="utf-8")

    def pids(self) -> list[int]:
        """Who is in it."""
        try:
            return [int(line) for line in (self.path / "cgroup.procs").read_text(encoding="utf-8").split()]
        except OSError:
            return []

    def kill(self) -> None:
        """SIGKILL to everybody in it, at once; a process that is being forked included."""
        with suppress(OSError):
            (self.path / "cgroup.kill").write_text("1", encoding="utf-8")

    def thaw(self) -> None:
        """Let go on who is in it, should it have been frozen (cgroup.freeze, Linux 5.2)."""
        for path in self._below():
            with suppress(OSError):
                (path / "cgroup.freeze").write_text("0", encoding="utf-8")

    def remove(self, patience: float = 0.0) -> bool:
        """Remove it. Whether it is gone; one with processes in it stays, those on their last steps included.

        For them there is `patience`, in seconds.
        """
        end = time.monotonic() + patience
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
        """What was made in it, by a run inside of the run for example, the innermost first; and itself."""
        found = [Path(root) for root, _, _ in os.walk(self.path, topdown=False)]
        return found or [self.path]


def _own_cgroup() -> Path | None:
    """Our place in the v2 hierarchy, mounted as it is on a unified or a hybrid host."""
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
    """Find the cgroup that lists this process: without /proc, nothing else says which it is."""
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
