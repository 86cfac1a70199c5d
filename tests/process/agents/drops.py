"""Agents that give up root, and with it the kernel's promise to kill them with their parent (prctl(2))."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

from tests.support.eof import hold
from tests.support.sync import announce

NOBODY = 65534


def changes_user(task: dict[str, Any], _state: object) -> None:
    """Become another user, and never end; with `c`, in C code that holds the GIL."""
    hold(task["proof"])
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    announce(task["post"], str(os.getpid()))
    if task["c"]:
        ctypes.PyDLL(None).sleep(600)
    time.sleep(600)
