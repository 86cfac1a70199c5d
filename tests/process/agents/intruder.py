"""Agents that write where they must not: shared memory, descriptors, and the pipes of the executor beside them."""

from __future__ import annotations

import ctypes
import os
import select
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from runtime import ExecutionState

DEADLINE = 20.0
"""Seconds that an agent waits for a neighbour, at most."""


def intrude(task: dict[str, Any], state: ExecutionState) -> Any:
    """`do` names what is done, on the first attempt only; `marks` is a directory that all agents of a test share."""
    mark = Path(task["marks"]) / str(task["key"])
    if mark.exists():
        (Path(task["marks"]) / "done").touch()
        return "again"
    mark.write_text(str(os.getpid()))
    return DEEDS[task["do"]](task, state)


def _shared_mappings() -> list[tuple[int, int]]:
    """Where this process can write to memory that others see."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, rights, *_ = line.split()
        if rights[1] == "w" and rights[3] == "s":
            start, end = (int(part, 16) for part in where.split("-"))
            found.append((start, end))
    return found


def _writes_memory(_task: dict[str, Any], _state: ExecutionState) -> str:
    for start, end in _shared_mappings():
        ctypes.memset(start, 0xFF, end - start)
    return "wrote"


def _writes_foreign_memory(_task: dict[str, Any], _state: ExecutionState) -> str:
    """The whole flag, through whatever mapping there is."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "quiesce-flag" in line:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            ctypes.memset(start, 1, end - start)
    return "wrote"


def _writes_descriptors(_task: dict[str, Any], _state: ExecutionState) -> str:
    return _write_descriptors("memfd")


def _writes_all_descriptors(_task: dict[str, Any], _state: ExecutionState) -> str:
    return _write_descriptors("")


def _write_descriptors(only: str) -> str:
    """All but standard streams, also those that are open for reading: they are opened anew for writing."""
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        if int(name) > 2:
            _write(f"/proc/self/fd/{name}", only)
            with suppress(OSError):
                if only in os.readlink(f"/proc/self/fd/{name}"):
                    os.set_blocking(int(name), False)
                    os.write(int(name), b"\x01" * 12288)
    return "wrote"


def _write(path: str, only: str) -> int:
    """Bytes that could be written to a descriptor of this or another process."""
    written = 0
    with suppress(OSError):
        if only not in os.readlink(path):
            return 0
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                written += os.write(fd, b"\x10\x00\x00\x00 nobody ever sent this")
            else:
                written += os.pwrite(fd, b"\x01" * 12288, 0)
        finally:
            os.close(fd)
    return written


def _truncates_descriptors(_task: dict[str, Any], _state: ExecutionState) -> str:
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if "quiesce-flag" in os.readlink(f"/proc/self/fd/{name}"):
                os.ftruncate(int(name), 0)
    return "truncated"


def _waits(task: dict[str, Any], state: ExecutionState) -> str:
    """Until the neighbour has done it."""
    end = time.monotonic() + DEADLINE
    done = Path(task["marks"]) / "done"
    while not done.exists() and time.monotonic() < end:
        state.raise_if_interrupted()
        time.sleep(0.01)
    return "waited"


def _sleeps(task: dict[str, Any], state: ExecutionState) -> str:
    """Whether the wake-up of all stays silent until the neighbour has been ended and has run again."""
    fd, end = state.host.wake_fd(), time.monotonic() + DEADLINE
    assert fd is not None
    while not (Path(task["marks"]) / "done").exists() and time.monotonic() < end:
        if select.select([fd], [], [], 0.01)[0]:
            return "it was woken"
    return "nothing woke it"


def _writes_neighbours_pipe(task: dict[str, Any], _state: ExecutionState) -> str:
    """Into the other executor's pipe that `pipe` names."""
    other, end = Path(task["marks"]) / "waits", time.monotonic() + DEADLINE
    while not (other.exists() and other.read_text()) and time.monotonic() < end:
        time.sleep(0.01)
    pid = int(other.read_text())
    tasks, control, events = _pipes(pid)
    where = {"tasks": tasks, "control": control, "events": events}[task["pipe"]]
    written = _write(f"/proc/{pid}/fd/{where}", only="pipe")
    (Path(task["marks"]) / "done").touch()
    return f"wrote {bool(written)}"


def _pipes(pid: int) -> tuple[int, int, int]:
    """An executor's tasks, control and events: pipes with one end in that process that no other executor has."""
    ends: dict[str, list[int]] = {}
    own = {os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_open(name)}
    for name in os.listdir(f"/proc/{pid}/fd"):
        if int(name) > 2:
            ends.setdefault(os.readlink(f"/proc/{pid}/fd/{name}"), []).append(int(name))
    alone = sorted(
        fds[0] for target, fds in ends.items() if target[:4] == "pipe" and len(fds) == 1 and target not in own
    )
    tasks, control, events = alone[:3]
    return tasks, control, events


def _is_open(name: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{name}")


def _reads_descriptors(task: dict[str, Any], _state: ExecutionState) -> list[str]:
    """What this process has in common with the neighbour's."""
    other, end = Path(task["marks"]) / "waits", time.monotonic() + DEADLINE
    while not (other.exists() and other.read_text()) and time.monotonic() < end:
        time.sleep(0.01)
    pid = int(other.read_text())
    theirs = {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd") if int(name) > 2}
    ours = {
        os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_open(name) and int(name) > 2
    }
    (Path(task["marks"]) / "done").touch()
    return sorted(name.split(":")[0] for name in ours & theirs)


DEEDS = {
    "good": lambda *_: "good",
    "writes_memory": _writes_memory,
    "writes_foreign_memory": _writes_foreign_memory,
    "writes_descriptors": _writes_descriptors,
    "writes_all_descriptors": _writes_all_descriptors,
    "truncates_descriptors": _truncates_descriptors,
    "waits": _waits,
    "sleeps": _sleeps,
    "writes_neighbours_pipe": _writes_neighbours_pipe,
    "reads_descriptors": _reads_descriptors,
}
