"""Mark the processes of a run by environment variables, and read the marks of one process."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

from runtime.process import procfs
from runtime.process.libc import LIBC
from runtime.process.psutil_later import psutil

RUN_VARIABLE = "QUIESCE_RUN_ID"
"""Environment variable of every process of a run, so that strays can be found as a last resort."""

SUPERVISOR_VARIABLE = "QUIESCE_SUPERVISOR"
"""Environment variable with the supervisor's token: two journals may have a run of the same id at the same time."""

SLOT_VARIABLE = "QUIESCE_SLOT"
"""Environment variable with the `slot.incarnation` of the executor above a process. Of fixed width, see `mark_slot`."""

_SLOT_WIDTH = 24
SLOT_PLACEHOLDER = "-" * _SLOT_WIDTH
"""Value of SLOT_VARIABLE when the guardian is exec'd."""


def slot_mark(slot: int, incarnation: int) -> str:
    """Return the value of SLOT_VARIABLE below one incarnation of an executor."""
    return f"{slot}.{incarnation}".ljust(_SLOT_WIDTH, "-")


def mark_slot(slot: int, incarnation: int) -> None:
    """Mark this process and all its future descendants as belonging to a slot.

    Programs that it execs get the mark with os.environ. A child that only forks keeps the environment block
    of the guardian's exec, which is what /proc/PID/environ shows; so the mark is also written *into* that
    block, over the placeholder of the same length. A daemon that forks twice without exec is found by it.
    """
    mark = slot_mark(slot, incarnation)
    if LIBC is not None:
        LIBC.getenv.restype = ctypes.c_void_p
        address = LIBC.getenv(SLOT_VARIABLE.encode())
        if address and len(ctypes.string_at(address)) == _SLOT_WIDTH:
            ctypes.memmove(address, mark.encode(), _SLOT_WIDTH)
    os.environ[SLOT_VARIABLE] = mark


def slot_of(pid: int) -> str:
    """Return the slot mark of a process; empty if it has none."""
    return variable_of(pid, SLOT_VARIABLE)


def variable_of(pid: int, name: str) -> str:
    """Return an environment variable of a process; empty if it is unset, or the process is gone or may not be read.

    For processes of a run; for others see environments.py. Also empty while a thread of the process waits for a disk:
    it may hold the lock of the memory map, and the reader would wait for that.
    """
    if procfs.IS_BLIND or procfs.waits_for_disk(pid):
        return ""
    if not procfs.HAS_PROC:
        with suppress(psutil.Error, OSError):
            return psutil.Process(pid).environ().get(name, "")
        return ""
    with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        _, found, rest = (b"\0" + file.read()).partition(b"\0" + name.encode() + b"=")
        return rest.partition(b"\0")[0].decode(errors="replace") if found else ""
    return ""
