"""What is done to a run from outside. Processes are found as a stranger would find them.

A fault that finds no process (the run was over, or that executor just went) is no fault, and is not counted.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from tests.support.chaos.clock import Clock
from tests.support.chaos.places import Disk

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
        """Return the guardian."""
        with suppress(psutil.Error):
            for child in self.supervisor.children():
                if "runtime.guardian.main" in " ".join(child.cmdline()):
                    return child
        return None

    def executors(self) -> list[psutil.Process]:
        """Return the guardian's children that lead a session: adopted daemons do not."""
        guardian = self.guardian()
        found = []
        with suppress(psutil.Error):
            for child in guardian.children() if guardian is not None else []:
                with suppress(OSError):
                    if os.getsid(child.pid) == child.pid:
                        found.append(child)
        return found

    def find_process(self, name: str) -> psutil.Process | None:
        """Find a process by its role."""
        if name == "supervisor":
            return self.supervisor
        if name == "guardian":
            return self.guardian()
        executors = self.executors()
        return self.rng.choice(executors) if executors else None

    def schedule(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something a little later, without waiting for it here."""

        def wait_and_act() -> None:
            time.sleep(seconds)
            act()

        thread = threading.Thread(target=wait_and_act, daemon=True)
        thread.start()
        self.later.append(thread)

    def wait_scheduled(self) -> None:
        """Everything that was to happen a little later has happened."""
        for thread in self.later:
            thread.join()
        self.later.clear()


def inject(kind: str, target: Target) -> bool:
    """Inject the fault. Return whether there was a process to inject it into."""
    try:
        if kind in _WORLD:
            return _WORLD[kind](target)
        role, what = kind.split()
        if role == "group":
            if what == "TSTP+CONT":
                return _suspend(target, lambda number: os.killpg(target.supervisor.pid, number))
            os.killpg(target.supervisor.pid, signal.SIGINT)
            return True
        process = target.find_process(role)
        if process is None or not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        if what == "storm":
            return _storm(process, target.rng, ending=role == "supervisor")
        if what == "TSTP+CONT":
            return _suspend(target, process.send_signal)
        if what == "HOLD":
            return _hold(target, process)
        if what == "STOP+CONT":
            process.suspend()
            target.schedule(target.rng.uniform(0.05, 0.6), lambda: _quietly(process.resume))
            return True
        process.send_signal(signal.Signals[f"SIG{what}"])
        return True
    except (psutil.Error, ProcessLookupError):
        return False


def _quietly(act: Callable[[], object]) -> None:
    with suppress(psutil.Error, OSError):
        act()


def _storm(process: psutil.Process, rng: random.Random, *, ending: bool) -> bool:
    """Send a thousand signals, of all kinds that a user may send, as fast as possible."""
    menu = [signal.SIGINT, signal.SIGHUP] + ([signal.SIGTERM] if ending else [])
    sent = 0
    for _ in range(STORM):
        with suppress(psutil.Error):
            process.send_signal(rng.choice(menu))
            sent += 1
    return sent > 0


def _suspend(target: Target, send: Callable[[signal.Signals], object]) -> bool:
    """Ctrl-Z, and a while later `fg`."""
    send(signal.SIGTSTP)
    target.schedule(target.rng.uniform(0.1, 0.8), lambda: _quietly(lambda: send(signal.SIGCONT)))
    return True


_TRACER = """
import ctypes, os, sys, time
libc, pid = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
if libc.ptrace(16, pid, None, None):  # PTRACE_ATTACH: stopped until the tracer goes, whatever SIGCONT comes
    sys.exit(1)
os.waitpid(pid, 0x40000000)  # __WALL
time.sleep(float(sys.argv[2]))
"""


def _hold(target: Target, process: psutil.Process) -> bool:
    """Hold a process by a tracer, as gdb or strace do: SIGCONT does not help. Release it a while later."""
    tracer = subprocess.Popen([sys.executable, "-S", "-c", _TRACER, str(process.pid), "6"])
    target.schedule(0.0, tracer.wait)
    return True


# -- the world around it ----------------------------------------------------------------------------------------


def _spoil(target: Target) -> bool:
    target.disk.spoil()
    return True


def _slow(target: Target) -> bool:
    """Write to the journal's file from another process, slowly: every commit waits."""
    return _lock_journal(target, 0.3, 1.0)


def _lock(target: Target) -> bool:
    """Keep the journal locked for longer than a commit should take, as a backup tool or a shell may."""
    return _lock_journal(target, 2.0, 5.0)


def _lock_journal(target: Target, shortest: float, longest: float) -> bool:
    """Hold SQLite's write lock on the journal for a random time between the two, in seconds."""

    def hold() -> None:
        with suppress(sqlite3.Error), closing(sqlite3.connect(target.disk.journal, timeout=2)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            other.execute("ROLLBACK")

    seconds = target.rng.uniform(shortest, longest)
    target.schedule(0.0, hold)
    return True


def _second_run(target: Target) -> bool:
    """Let another run write a large input into the same journal, and stop it after a while."""
    source = target.disk.folder.parent / "second.jsonl"
    with source.open("w") as file:
        file.writelines(f'{{"key": "s{number}", "n": {number}}}\n' for number in range(60_000))
    command = [sys.executable, "-m", "orchestrator", "run", "json:dumps", "--input", str(source), "--workers", "1"]
    command += ["--journal", str(target.disk.journal), "--run-id", f"second-{time.monotonic_ns()}", "--progress", "off"]
    other = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end() -> None:
        with suppress(subprocess.TimeoutExpired):
            other.wait(target.rng.uniform(1.0, 3.0))
        other.terminate()
        try:
            other.wait(30)
        finally:
            other.kill()

    target.schedule(0.0, end)
    return True


def _truncate(target: Target) -> bool:
    """Empty the write-ahead log, as a clean-up script may: `: > journal.db-wal`."""
    with suppress(FileNotFoundError):
        os.truncate(f"{target.disk.journal}-wal", 0)
        return True
    return False


def _delete(target: Target) -> bool:
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(f"{target.disk.journal}{suffix}")
    return True


def _no_descriptors(target: Target) -> bool:
    """Leave the supervisor, and sometimes the guardian, no further descriptor; undo that a while later."""
    for process in (target.supervisor, target.guardian() if target.rng.random() < 0.5 else None):
        if process is not None:
            soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
            highest = max(int(fd) for fd in os.listdir(f"/proc/{process.pid}/fd"))
            process.rlimit(psutil.RLIMIT_NOFILE, (highest + 1, hard))
            restore = partial(process.rlimit, psutil.RLIMIT_NOFILE, (soft, hard))
            target.schedule(0.5, partial(_quietly, restore))
    return True


def _no_processes(target: Target) -> bool:
    """Leave no process for the run on this host, for half a second."""
    group = target.pids
    if group is None:
        return os.geteuid() != 0 and _no_processes_of_user(target)
    (group / "pids.max").write_text("1")
    target.schedule(0.5, lambda: _quietly(lambda: (group / "pids.max").write_text("max")))
    return True


def _no_processes_of_user(target: Target) -> bool:
    """Do the same by the limit of a user, which does not bind root."""
    for process in (target.supervisor, target.guardian()):
        if process is not None:
            before = process.rlimit(psutil.RLIMIT_NPROC)
            process.rlimit(psutil.RLIMIT_NPROC, (1, before[1]))
            target.schedule(0.5, lambda p=process, b=before: _quietly(lambda: p.rlimit(psutil.RLIMIT_NPROC, b)))  # type: ignore[misc]
    return True


def _jump(target: Target) -> bool:
    """Let the wall clock jump by hours, backwards or forwards."""
    if target.clock is None:
        return False
    target.clock.jump(target.rng.choice((-1, 1)) * target.rng.randint(1, 48) * 3600)
    return True


_WORLD: dict[str, Callable[[Target], bool]] = {
    "disk full": _spoil,
    "read-only": _spoil,
    "slow disk": _slow,
    "locked journal": _lock,
    "second run": _second_run,
    "truncated": _truncate,
    "deleted": _delete,
    "no descriptors": _no_descriptors,
    "no processes": _no_processes,
    "clock jump": _jump,
}
