"""Agents that run into limits."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import weakref
from types import FrameType
from typing import Any

from runtime import ExecutionState, InterruptReason, InterruptSignal, agent
from runtime.executor.task_runner import TaskRunner
from runtime.ipc.flag import InterruptFlag
from tests.support.sync import announce, is_open


def hog(task_input: dict[str, Any], state: ExecutionState) -> str:
    """Takes memory, and holds it at a checkpoint."""
    if task_input.get("bytes"):
        block = bytearray(task_input["bytes"])
        state.sleep(60)
        return str(len(block))
    return "small"


kept: list[bytearray] = []


def keeps(task_input: dict[str, Any], state: ExecutionState) -> int:
    """Leak memory slowly, so that the limit notices; return who executes."""
    if task_input.get("bytes"):
        kept.append(bytearray(task_input["bytes"]))
    state.sleep(0.1)
    return os.getpid()


def shares(task_input: dict[str, Any], state: ExecutionState) -> str:
    """Forks children that have all its memory, and write into none of it, and then waits at a gate."""
    block = b"x" * task_input["bytes"]
    ends = os.pipe()
    for _ in range(task_input["children"]):
        if not os.fork():
            os.close(ends[1])
            total = block.count(b"y")  # reads each page, so that it is mapped here
            os.read(ends[0], 1)
            os._exit(total)
    os.close(ends[0])
    try:
        if task_input.get("post"):
            announce(task_input["post"])
        while not is_open(task_input["gate"]):
            state.sleep(0.02)
    finally:
        os.close(ends[1])
    return "shared"


loaded: weakref.WeakSet[Large] = weakref.WeakSet()


class Large:
    """An agent that is large itself; tells which it is, and how many of its kind its process has."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.block = bytes(size)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        loaded.add(self)

    def __call__(self, task_input: Any, state: ExecutionState) -> tuple[int, int]:
        return self.number, len(loaded)


class LargeAsync(Large):
    """The same on an event loop."""

    async def __call__(self, task_input: Any, state: ExecutionState) -> tuple[int, int]:  # type: ignore[override]
        return self.number, len(loaded)


def freezes(task_input: dict[str, Any], state: ExecutionState) -> str:
    """Stops its own process the first time."""
    if task_input.get("freeze") and state.snapshot is None:
        state.save_snapshot("frozen once")
        os.kill(os.getpid(), signal.SIGSTOP)
    return "thawed" if state.snapshot else "fine"


def counts(task_input: dict[str, Any], state: ExecutionState) -> list[int]:
    """Steps forward, at each a snapshot, a gate if there is one, and a pause; tells when it begins and from where."""
    done = state.snapshot or 0
    announce(task_input["post"], f"{task_input['key']} from {done}")
    while done < task_input["steps"]:
        done += 1
        state.save_snapshot(done)
        while "gate" in task_input and not is_open(task_input["gate"]):
            state.sleep(0.02)
        state.sleep(task_input.get("pause", 0))
    return [done, os.getpid()]


def pid(task_input: Any, state: ExecutionState) -> int:
    """Who executes."""
    return os.getpid()


@agent(timeout=1, retries=1, name="short of time")
def own_limits(task_input: Any, state: ExecutionState) -> Any:
    """Brings its own time limit and retries."""
    if task_input == "slow":
        state.sleep(60)
    return task_input


def is_sent_term_late(task_input: dict[str, Any], state: ExecutionState) -> None:
    """Marks the TERM rung as the guardian does, and returns; the signal comes when the next task has begun."""
    flag = next(found for found in gc.get_objects() if isinstance(found, InterruptFlag))
    flag.mark_term(0)
    subprocess.Popen(["/bin/sh", "-c", f"sleep 1; kill -TERM {os.getpid()}"])


def is_met_at_its_end(task_input: Any, state: ExecutionState) -> str:
    """The TERM rung's handler runs when the agent has returned, and its executor has not yet written down how."""
    runner = next(found for found in gc.get_objects() if isinstance(found, TaskRunner))
    order = next(iter(runner._running.values())).order

    def meet(frame: FrameType, event: str, _arg: object) -> None:
        if event == "c_call" and frame.f_code is TaskRunner.run.__code__:
            sys.setprofile(None)
            runner.raise_in_main_thread()

    runner.interrupt(order, InterruptSignal(reason=InterruptReason.TIMEOUT, message="it is over", triggered_by="test"))
    sys.setprofile(meet)
    return "as if it had slept"


def sleeps_in_c(task_input: dict[str, Any], state: ExecutionState) -> int:
    """The seconds that sleep(3) did not sleep because a signal ended it."""
    return int(ctypes.CDLL(None).sleep(2))


def one_of(task_input: dict[str, Any], state: ExecutionState) -> Any:
    return {"late": is_sent_term_late, "sleeps": sleeps_in_c}[task_input["key"]](task_input, state)
