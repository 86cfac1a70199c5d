"""Looking at processes: whose they are, what they do, and ending them.

Ownership is read from where it cannot be argued away: the environment that a process was started with
(`/proc/PID/environ`, which a setsid, a double fork or a dead parent does not change) and, for a bare fork
of this process, a descriptor on a pipe that only forks of this process can hold.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterable

import psutil

HAVE_PROC = os.path.isdir("/proc/self/fd")
TEST_MARK = "QUIESCE_TEST_"
"""How the environment variable begins that marks every process of one test; see tests.support.leaks."""

_TICKS = os.sysconf("SC_CLK_TCK")


def read_bytes(path: str) -> bytes:
    """A file of /proc, or nothing when the process has gone or is not ours to read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def pids() -> list[int]:
    """Every process there is, zombies included."""
    if not HAVE_PROC:
        return psutil.pids()
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def stat_of(pid: int) -> tuple[str, int, float] | None:
    """State letter, parent and start (seconds since boot) of a process, or None when it has gone."""
    text = read_bytes(f"/proc/{pid}/stat")
    if not text:
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    return fields[0].decode(), int(fields[1]), int(fields[19]) / _TICKS


def environment_has(pid: int, name: str, value: str | None = None) -> bool:
    """Whether a process was started with a variable (of that value)."""
    entry = f"{name}=" if value is None else f"{name}={value}\0"
    return b"\0" + entry.encode() in b"\0" + read_bytes(f"/proc/{pid}/environ")


def holds(pid: int, target: str) -> list[int]:
    """The descriptors of a process that lead to `target`, as `readlink` shows it (a path, `pipe:[…]`)."""
    found = []
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{fd}") == target:
                    found.append(int(fd))
    return found


def select(wanted: Callable[[int], bool]) -> list[psutil.Process]:
    """The processes, this one left out, whose pid satisfies `wanted`."""
    found = []
    for pid in pids():
        if pid != os.getpid() and wanted(pid):
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(pid))
    return found


def processes_with(name: str, value: str | None = None) -> list[psutil.Process]:
    """Living processes that were started with an environment variable, wherever they now hang in the tree."""
    return select(lambda pid: environment_has(pid, name, value))


def processes_of_run(run_id: str) -> list[psutil.Process]:
    """Return the living processes of a run that this process started, detached grandchildren included.

    Another program on this machine may have a run of the same id: inside a test, only processes with the test's own
    mark in their environment count. Outside of a test there is no mark, and the run id has to be unique.
    """
    mark = mark_of_test()
    return select(
        lambda pid: environment_has(pid, "QUIESCE_RUN_ID", run_id) and (mark is None or environment_has(pid, mark))
    )


def mark_of_test() -> str | None:
    """Return the name of the variable that marks what the running test starts, None outside of a test."""
    return next((name for name in os.environ if name.startswith(TEST_MARK)), None)


def descendants(pid: int) -> list[psutil.Process]:
    """Everything below a process, zombies included, the leaves last."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def describe(process: psutil.Process) -> str:
    """One line that tells a person which process this is and what it waits for."""
    try:
        with process.oneshot():
            parent, state = process.ppid(), process.status()
            command = " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return f"pid {process.pid} (gone)"
    where = read_bytes(f"/proc/{process.pid}/wchan").decode(errors="replace").strip("0\n")
    environment = read_bytes(f"/proc/{process.pid}/environ")
    run = re.search(rb"(?:^|\0)QUIESCE_RUN_ID=([^\0]*)", environment)
    extras = [f"in {where}"] if where else []
    extras += [f"run {run[1].decode(errors='replace')}"] if run else []
    return f"pid {process.pid} (parent {parent}, {', '.join([state, *extras])}): {command[:160]}"


def kill_all(processes: Iterable[psutil.Process], timeout: float = 5.0) -> None:
    """SIGKILL processes (psutil checks pid and start time), reap those that are our children, wait for the rest."""
    ended = list(processes)
    for process in ended:
        with contextlib.suppress(psutil.Error):
            process.kill()
    for process in ended:
        with contextlib.suppress(psutil.Error, ChildProcessError):
            process.wait(timeout)


def signal_all(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each that still lives."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
