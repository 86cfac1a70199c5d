"""Holding a process where SIGCONT does not help: under a tracer, in a frozen cgroup."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from tests.support.wait import wait_until

_PTRACE_ATTACH, _PTRACE_DETACH = 16, 17
_WALL = 0x40000000
_FREEZER = Path("/sys/fs/cgroup/freezer")

CAN_FREEZE = (_FREEZER / "cgroup.procs").exists() and os.access(_FREEZER, os.W_OK)
"""Whether there is a version 1 freezer: what is in it cannot even be killed before it is thawed."""


def state_of(pid: int) -> str:
    """The letter of a process's state (proc(5)), empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


@contextlib.contextmanager
def traced(pid: int) -> Iterator[None]:
    """Be its tracer, which does not let it go on. It can be killed."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.ptrace(_PTRACE_ATTACH, ctypes.c_long(pid), None, None) == 0, os.strerror(ctypes.get_errno())
    wait_until(lambda: state_of(pid) in ("t", "Z", ""), what="the tracee stops")
    try:
        yield
    finally:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG | _WALL)
        libc.ptrace(_PTRACE_DETACH, ctypes.c_long(pid), None, None)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG | _WALL)


@contextlib.contextmanager
def frozen(*pids: int) -> Iterator[Path]:
    """Have them frozen, in a version 1 freezer of their own."""
    group = _FREEZER / f"quiesce-test-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        wait_until(lambda: (group / "freezer.state").read_text().strip() == "FROZEN", what="they are frozen")
        yield group
    finally:
        (group / "freezer.state").write_text("THAWED")
        for line in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (_FREEZER / "cgroup.procs").write_text(line)
        wait_until(lambda: _is_removed(group), what="the freezer is removed")


def _is_removed(group: Path) -> bool:
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
