"""Read environment variables of processes of any kind, without ever hanging on one.

*Theory.* To read /proc/PID/environ (proc(5)), the kernel takes the memory-map lock of that process and may have to
fetch a page of it. While one of its threads holds the lock and waits for a disk or a file server that does not answer,
every reader waits, too (so does `ps`), and in uninterruptible sleep if it is for the page. A thread that waits like
that keeps its process from ending. So a separate process does the reading and is abandoned if it hangs: another one
reads on after the process at which it hung.

Rejected: checking first whether a thread of the process is in uninterruptible sleep (so is one that just writes to a
disk); a fork of this process instead of a program (its threads' locks, and the hooks of its libraries).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from select import POLLIN

from runtime.native import poll
from runtime.process.procfs import stat_fields
from runtime.stop_limits import ENVIRONMENTS_TIMEOUT

_LOOK, _LOOKS = 0.1, 3
"""Seconds without output after which a reader is checked, and checks that find it waiting before it counts as hung."""

_AT_ONCE = 2000
"""Processes for one reader, because arguments are limited."""

_PROGRAM = """\
import sys
names = [name.encode() for name in sys.argv[1].split(",")]
out = sys.stdout.buffer
for pid in sys.argv[2:]:
    out.write(pid.encode())
    out.flush()
    data = b""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            data = b"\\0" + file.read()
    except OSError:
        pass
    for name in names:
        value = data.partition(b"\\0" + name + b"=")[2].partition(b"\\0")[0]
        out.write(b" " + value.hex().encode())
    out.write(b"\\n")
out.flush()
"""

_NOT_FOR_READERS = ("QUIESCE_RUN_ID", "QUIESCE_SUPERVISOR", "QUIESCE_SLOT")
"""Variables that would make a reader, which belongs to no run, look like a process of one."""

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals blocked in readers: a Ctrl-C in the terminal would end one, and an empty answer would mean no variable."""

_unreaped: list[int] = []
"""Pids of readers that hung and could not be killed at once."""


def read(
    pids: Iterable[int], names: Sequence[str], *, seconds: float = ENVIRONMENTS_TIMEOUT
) -> dict[int, Mapping[str, str]]:
    """Return the variables `names` of the processes, empty strings for those they do not have.

    Processes that could not be read in time, or at all, are left out or have empty strings. `seconds` bounds the call.
    """
    left = [str(pid) for pid in pids]
    end = time.monotonic() + seconds
    found: dict[int, Mapping[str, str]] = {}
    _reap()
    while left and time.monotonic() < end:
        lines, hung = _run(left[:_AT_ONCE], names, end)
        for line in lines:
            pid, *values = line.split(" ")
            found[int(pid)] = {
                name: bytes.fromhex(value).decode(errors="replace") for name, value in zip(names, values, strict=True)
            }
        done = len(lines) + hung
        if not done:
            break
        left = left[done:]
    return found


def _run(pids: Sequence[str], names: Sequence[str], end: float) -> tuple[list[str], bool]:
    """Run one reader. Return its complete lines, and whether it hung at the next process."""
    output, theirs = os.pipe()
    try:
        reader = _spawn(pids, names, theirs)
    except OSError:  # no process is left for it
        os.close(output)
        return [], False
    finally:
        os.close(theirs)
    try:
        data, hung = _collect(reader, output, end)
    finally:
        os.close(output)
        _end(reader)
    return data.decode().split("\n")[:-1], hung


def _spawn(pids: Sequence[str], names: Sequence[str], output: int) -> int:
    python = _interpreter()
    command = [python, "-I", "-S", "-c", _PROGRAM, ",".join(names), *pids]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_READERS}
    return os.posix_spawn(python, command, environment, file_actions=actions, setsigmask=_STOPS)


def _interpreter() -> str:
    """Return the interpreter: where the program embeds Python, the one that it named to multiprocessing."""
    spawn = sys.modules.get("multiprocessing.spawn")
    return os.fsdecode((spawn.get_executable() if spawn else None) or sys.executable)


def _collect(reader: int, output: int, end: float) -> tuple[bytes, bool]:
    """Return what the reader wrote, and whether it hung."""
    waiter = poll()
    waiter.register(output, POLLIN)
    data, looks = b"", 0
    while time.monotonic() < end and looks < _LOOKS:
        if waiter.poll(1000 * _LOOK):
            part = os.read(output, 1 << 16)
            if not part:
                return data, False
            data, looks = data + part, 0
        else:
            is_reading = bool(data) and not data.endswith(b"\n")  # else it is being loaded, perhaps slowly
            looks = looks + 1 if is_reading and stat_fields(reader)[:1] == [b"D"] else 0
    return data, looks == _LOOKS


def _end(reader: int) -> None:
    """Kill a reader, whether it has ended or hangs. SIGKILL ends the wait for a lock, but not for a page."""
    _unreaped.append(reader)
    end = time.monotonic() + _LOOKS * _LOOK
    _reap()
    if reader in _unreaped:  # otherwise other code has reaped it, and the pid may be reused
        with suppress(OSError):
            os.kill(reader, signal.SIGKILL)
    while reader in _unreaped and time.monotonic() < end:
        _reap()
        time.sleep(0.001)


def _reap() -> None:
    for pid in tuple(_unreaped):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0] != 0
        except ChildProcessError:  # other code has reaped it
            ended = True
        if ended:
            _unreaped.remove(pid)
