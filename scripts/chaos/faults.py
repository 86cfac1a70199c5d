"""What is done to a run from outside. Processes are found as a stranger would find them.

A fault that finds nobody (the run was over, or that executor just went) is no fault, and is not counted.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from chaos.clock import Clock
from chaos.places import Disk

STORM = 1000
"""Signals in a storm."""


@dataclass
class Target:
    """A run under attack: its supervisor, its journal's disk, and what else a fault may need."""

    supervisor: psutil.Process
    disk: Disk
    rng: random.Random
    pids: Path | None = None
    clock: Clock | None = None
    later: list[threading.Thread] = field(default_factory=list)

    def guardian(self) -> psutil.Process | None:
        """The helper process."""
        with suppress(psutil.Error):
            for child in self.supervisor.children():
                if "runtime.guardian" in " ".join(child.cmdline()):
                    return child
        return None

    def executors(self) -> list[psutil.Process]:
        """The guardian's children that lead a session: adopted daemons do not."""
        guardian = self.guardian()
        found = []
        with suppress(psutil.Error):
            for child in guardian.children() if guardian is not None else []:
                with suppress(OSError):
                    if os.getsid(child.pid) == child.pid:
                        found.append(child)
        return found

    def whom(self, name: str) -> psutil.Process | None:
        """Somebody by role."""
        if name == "supervisor":
            return self.supervisor
        if name == "guardian":
            return self.guardian()
        executors = self.executors()
        return self.rng.choice(executors) if executors else None

    def soon(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something a little later, without waiting for it here."""

        def wait_and_act() -> None:
            time.sleep(seconds)
            act()

        thread = threading.Thread(target=wait_and_act, daemon=True)
        thread.start()
        self.later.append(thread)

    def settle(self) -> None:
        """Everything that was to happen a little later has happened."""
        for thread in self.later:
            thread.join()
        self.later.clear()


def inject(kind: str, target: Target) -> bool:
    """Do it. Whether there was somebody to do it to."""
    try:
        if kind in _WORLD:
            return _WORLD[kind](target)
        role, what = kind.split()
        if role == "group":
            os.killpg(target.supervisor.pid, signal.SIGINT)
            return True
        process = target.whom(role)
        if process is None or not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        if what == "storm":
            return _storm(process, target.rng, ending=role == "supervisor")
        if what == "STOP+CONT":
            process.suspend()
            target.soon(target.rng.uniform(0.05, 0.6), lambda: _quietly(process.resume))
            return True
        process.send_signal(signal.Signals[f"SIG{what}"])
        return True
    except (psutil.Error, ProcessLookupError):
        return False


def _quietly(act: Callable[[], object]) -> None:
    with suppress(psutil.Error, OSError):
        act()


def _storm(process: psutil.Process, rng: random.Random, *, ending: bool) -> bool:
    """A thousand signals as fast as they can be sent, of all kinds that somebody may send."""
    menu = [signal.SIGINT, signal.SIGHUP] + ([signal.SIGTERM] if ending else [])
    sent = 0
    for _ in range(STORM):
        with suppress(psutil.Error):
            process.send_signal(rng.choice(menu))
            sent += 1
    return sent > 0


# -- the world around it ----------------------------------------------------------------------------------------


def _spoil(target: Target) -> bool:
    target.disk.spoil()
    return True


def _slow(target: Target) -> bool:
    """Somebody else writes to the journal's file, and takes his time: every commit waits."""

    def hold() -> None:
        with suppress(sqlite3.Error), closing(sqlite3.connect(target.disk.journal, timeout=2)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            other.execute("ROLLBACK")

    seconds = target.rng.uniform(0.3, 1.0)
    target.soon(0.0, hold)
    return True


def _delete(target: Target) -> bool:
    for suffix in ("", "-wal", "-shm", "-lock"):
        with suppress(FileNotFoundError):
            os.unlink(f"{target.disk.journal}{suffix}")
    return True


def _no_descriptors(target: Target) -> bool:
    """The supervisor, and sometimes the guardian, gets none beyond those it has. A while later, as many as before."""
    for process in (target.supervisor, target.guardian() if target.rng.random() < 0.5 else None):
        if process is not None:
            soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
            highest = max(int(fd) for fd in os.listdir(f"/proc/{process.pid}/fd"))
            process.rlimit(psutil.RLIMIT_NOFILE, (highest + 1, hard))
            target.soon(0.5, lambda p=process, s=soft, h=hard: _quietly(lambda: p.rlimit(psutil.RLIMIT_NOFILE, (s, h))))  # type: ignore[misc]
    return True


def _no_processes(target: Target) -> bool:
    """The host has no process left for anybody of the run, for half a second."""
    group = target.pids
    if group is None:
        return os.geteuid() != 0 and _no_processes_of_user(target)
    (group / "pids.max").write_text("1")
    target.soon(0.5, lambda: _quietly(lambda: (group / "pids.max").write_text("max")))
    return True


def _no_processes_of_user(target: Target) -> bool:
    """Likewise by the limit of a user, which binds everybody but root."""
    for process in (target.supervisor, target.guardian()):
        if process is not None:
            before = process.rlimit(psutil.RLIMIT_NPROC)
            process.rlimit(psutil.RLIMIT_NPROC, (1, before[1]))
            target.soon(0.5, lambda p=process, b=before: _quietly(lambda: p.rlimit(psutil.RLIMIT_NPROC, b)))  # type: ignore[misc]
    return True


def _jump(target: Target) -> bool:
    """The wall clock jumps by hours, backwards or forwards."""
    if target.clock is None:
        return False
    target.clock.jump(target.rng.choice((-1, 1)) * target.rng.randint(1, 48) * 3600)
    return True


_WORLD: dict[str, Callable[[Target], bool]] = {
    "disk full": _spoil,
    "read-only": _spoil,
    "slow disk": _slow,
    "deleted": _delete,
    "no descriptors": _no_descriptors,
    "no processes": _no_processes,
    "clock jump": _jump,
}
