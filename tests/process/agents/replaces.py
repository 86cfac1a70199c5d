"""Agents that replace or hook what the whole process uses."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from types import FrameType
from typing import Any

from runtime import ExecutionState


def _raise(frame: FrameType, _event: str, _argument: object) -> Any:
    if frame.f_code.co_filename == __file__:
        return
    raise RuntimeError("a tracer of the agent's")


def trace(task_input: str, state: ExecutionState) -> str:
    """Leave tracers behind that raise wherever they are called."""
    if task_input in ("trace", "both"):
        threading.settrace(_raise)
    if task_input in ("profile", "both"):
        threading.setprofile(_raise)
    if task_input in ("profile", "both"):
        sys.setprofile(_raise)
    if task_input in ("trace", "both"):
        sys.settrace(_raise)
    return task_input


def watch(task_input: object, state: ExecutionState) -> bool:
    """Configure faulthandler in an agent."""
    faulthandler.enable(file=2, all_threads=True)
    faulthandler.dump_traceback_later(1000)
    faulthandler.disable()
    return faulthandler.is_enabled()


def fork(task_input: object, state: ExecutionState) -> int:
    """A child that comes to the end of the agent, too."""
    pid = os.fork()
    if not pid:
        return 0
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
