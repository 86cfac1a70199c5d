"""Collect facts about this host before a run. Everything that is tried is undone again."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from orchestrator.integrations.doctor.facts import Disk, HostFacts
from orchestrator.integrations.doctor.parents import SLURM, Parent, recognise
from orchestrator.integrations.slurm.job_query import current_job
from orchestrator.integrations.systemd.service_query import current_service
from orchestrator.journal import open_journal, path_of
from runtime.errors import QuiesceError
from runtime.process import procfs, tree
from runtime.process.cgroup import RunCgroup

_PR_GET_CHILD_SUBREAPER: Final = 37
_V2: Final = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
_V1: Final = Path("/sys/fs/cgroup")


def collect_facts(journal: str) -> HostFacts:
    """Collect the facts about this host. `journal` is a path or a URL."""
    files, files_hard = _limits(resource.RLIMIT_NOFILE)
    version, kills = _cgroups()
    path = path_of(journal)
    return HostFacts(
        system=os.uname().sysname,
        python=sys.version_info[:3],
        executable=sys.executable if sys.executable and os.access(sys.executable, os.X_OK) else None,
        cgroup=version,
        leaf=_can_make_leaf(),
        kills_cgroups=kills,
        subreaper=_has_subreaper(),
        visibility=procfs.VISIBILITY,
        pidfd=_has_pidfd(),
        memfd=_has_memfd(),
        files=files,
        files_hard=files_hard,
        processes=_processes_left(),
        memory=_memory(),
        pid=os.getpid(),
        parent=_read(f"/proc/{os.getppid()}/comm").strip() if procfs.VISIBILITY.is_usable else "",
        ignored=tuple(signum.name for signum in _STOPS if signal.getsignal(signum) is signal.SIG_IGN),
        service=current_service(),
        started_by=_started_by(),
        notified="NOTIFY_SOCKET" in os.environ,
        terminal=os.isatty(2),
        disk=None if path is None else _disk(os.path.abspath(path)),
        refused=_refused(journal) if path is None or os.path.exists(path) else "",
    )


_STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _started_by() -> Parent | None:
    """Return what has started this process. Of Slurm, its own KillWait."""
    no_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    cgroups, is_pid1 = _read("/proc/self/cgroup"), os.getpid() == 1
    found = recognise(os.environ, _ancestors(), cgroups, is_pid1=is_pid1, no_hangup=no_hangup)
    if found is SLURM and (limits := current_job()) is not None:
        return replace(found, seconds=limits.kill_wait)
    return found


def _ancestors() -> list[list[str]]:
    """Return the command lines of the ancestors of this process, its parent's first; none without /proc."""
    lines: list[list[str]] = []
    pid: int | None = os.getppid()
    while procfs.VISIBILITY.is_usable and pid and len(lines) < _MOST_ANCESTORS:
        lines.append(_read(f"/proc/{pid}/cmdline").split("\0")[:-1])
        pid = tree.parent_of(pid)
    return lines


_MOST_ANCESTORS: Final = 50


def _limits(which: int) -> tuple[int | None, int | None]:
    """Return the soft and the hard limit; None for both if a sandbox refuses the question."""
    try:
        soft, hard = resource.getrlimit(which)
    except OSError:
        return None, None
    return _limit(soft), _limit(hard)


def _limit(number: int) -> int | None:
    return None if number == resource.RLIM_INFINITY else number


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# -- processes --------------------------------------------------------------------------------------------------


def _cgroups() -> tuple[str, bool]:
    """Return the versions of cgroups that are mounted, and whether the kernel has cgroup.kill."""
    mount = next((folder for folder in _V2 if (folder / "cgroup.controllers").exists()), None)
    if mount is None:
        return ("v1" if os.path.isdir("/sys/fs/cgroup/memory") else "none"), False
    kills = any(mount.glob("*/cgroup.kill")) or (mount / "cgroup.kill").exists()
    return ("v2" if mount == _V2[0] else "v1 and v2"), kills


def _can_make_leaf() -> bool:
    leaf = RunCgroup.at_own_cgroup(f"quiesce-doctor-{os.getpid()}")
    return leaf is not None and leaf.create() and leaf.remove()


def _has_subreaper() -> bool:
    """Return whether prctl knows subreapers. Reads the attribute: setting it would have an effect."""
    try:
        answer = ctypes.c_int()
        return bool(ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (OSError, AttributeError):
        return False
    return True


def _has_memfd() -> bool:
    try:
        os.close(os.memfd_create("quiesce-doctor"))
    except (OSError, AttributeError):
        return False
    return True


def _processes_left() -> int | None:
    """Return how many more processes and threads this user and this container may have; None: no limit."""
    files = limit_files(_read("/proc/self/cgroup"), "pids", "pids.max", "pids.max")
    left = [_number(path) - _number(path.with_name("pids.current")) for path in files if _number(path)]
    soft, _ = _limits(resource.RLIMIT_NPROC)
    if soft is not None and os.geteuid() != 0:
        left.append(soft - _threads_of(os.getuid()))
    return min(left, default=None)


def limit_files(cgroups: str, controller: str, name: str, old_name: str) -> list[Path]:
    """Return the files that may limit this process: those of its cgroup (/proc/self/cgroup) and of all above it.

    `old_name` is the name of the file in version 1. In a container the path may exist on the host only: then the
    mounted top is the container's own cgroup.
    """
    files: list[Path] = []
    tops: tuple[Path, ...]
    for line in cgroups.splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers == "":
            tops, file = _V2, name
        elif controller in controllers.split(","):
            tops, file = (_V1 / controller,), old_name
        else:
            continue
        for top in tops:
            own = top / path.lstrip("/")
            files += [folder / file for folder in (own, *own.parents) if folder.is_relative_to(top)]
    return files


def _number(path: Path) -> int:
    """Return the limit in a file; 0 if it has none (`max`) or does not exist."""
    text = _read(str(path)).strip()
    return int(text) if text.isdigit() else 0


def _threads_of(user: int) -> int:
    total = 0
    for name in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else []):
        fields = dict(line.split(":", 1) for line in _read(f"/proc/{name}/status").splitlines() if ":" in line)
        if fields.get("Uid", "").split()[:1] == [str(user)]:
            total += int(fields.get("Threads", "1"))
    return total


def _memory() -> int | None:
    """Return the bytes of memory that are free, or that the container may still use; None if unknown."""
    fields = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    free = [int(fields["MemAvailable"].split()[0]) << 10] if "MemAvailable" in fields else []
    files = limit_files(_read("/proc/self/cgroup"), "memory", "memory.max", "memory.limit_in_bytes")
    return min([*free, *filter(None, map(_number, files))], default=None)


# -- disks ------------------------------------------------------------------------------------------------------


def _disk(path: str) -> Disk:
    directory = os.path.dirname(path)
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    existing = os.path.dirname(path) == directory
    writable = os.access(directory, os.W_OK | os.X_OK) and (not os.path.exists(path) or os.access(path, os.W_OK))
    kind = file_system(os.path.realpath(directory), _read("/proc/self/mountinfo"))
    return Disk(path, directory, existing, writable, kind, _free(directory))


def _refused(journal: str) -> str:
    """Return why the journal cannot be opened, in one line; empty if it can. Opened for reading only."""
    try:
        open_journal(journal, "read").close()
    except QuiesceError as error:
        return str(error)
    return ""


def _free(directory: str) -> int | None:
    try:
        return shutil.disk_usage(directory).free
    except OSError:  # a sandbox refuses statfs
        return None


def file_system(directory: str, mounts: str) -> str:
    """Return the type of a directory's file system, from the text of /proc/self/mountinfo; empty if unknown.

    Of several mounts that cover the directory, the innermost counts, and of those the last.
    """
    kind, length = "", 0
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = directory == point or directory.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= length:
            kind, length = right.split()[0], len(point)
    return kind
