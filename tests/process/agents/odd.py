"""Agents with texts that are no text, snapshots that do not come back, and a broken event loop. Loaded by path."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from typing import Any

from runtime import ExecutionInterrupted, ExecutionState, InterruptReason, InterruptSignal
from tests.support.sync import announce

ESCAPED = "not \ud800 text"


class Silent(Exception):
    """Ends its own executor when it is asked what it says."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Unpicklable:
    """Ends its own executor when it is pickled."""

    def __reduce__(self) -> Any:
        raise KeyboardInterrupt


def _fail_to_come_back() -> None:
    raise RuntimeError("changed since")


class Changed:
    """Can be saved, and not be read again."""

    def __reduce__(self) -> Any:
        return _fail_to_come_back, ()


def says(task: dict[str, Any], state: ExecutionState) -> Any:
    """Say something that cannot travel."""
    match task.get("do"):
        case "kind":
            state.emit(ESCAPED, x=1)
        case "raise":
            raise ValueError(ESCAPED)
        case "silent":
            raise Silent
        case "result":
            return Unpicklable()
        case "traced":
            ctypes.CDLL(None).ptrace(0, 0, 0, 0)  # PTRACE_TRACEME: its parent is its tracer
            os.kill(os.getpid(), signal.SIGUSR2)
            state.sleep(5)
        case "interrupt":
            raise ExecutionInterrupted(InterruptSignal(reason=InterruptReason.CUSTOM, message=ESCAPED))
        case "self":
            os.kill(os.getpid(), signal.SIGTERM)
            state.sleep(5)
    return 1


def changes(task: dict[str, Any], state: ExecutionState) -> str:
    """Save what cannot be read again, and fail."""
    if task.get("bad"):
        state.save_snapshot(Changed())
        raise ValueError("first")
    return "fine"


async def there(path: str) -> None:
    """Until the test has made this file."""
    while not os.path.exists(path):  # noqa: ASYNC110, ASYNC240 - another process makes it
        await asyncio.sleep(0.02)


async def together(task: dict[str, Any], state: ExecutionState) -> str:
    """Some are fine and take their time; a bad one breaks the loop that they share, once all are there."""
    announce(task["post"], state.state_id)
    if "bad" in task:
        await there(task["go"])
        _BREAKS[task["bad"]](state)
        await asyncio.sleep(30)
    again = state.snapshot is not None
    state.save_snapshot(1)
    if not again:
        await there(task["over"])
    return "fine"


def _exit(state: ExecutionState) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    state.kept = asyncio.create_task(leave())  # type: ignore[attr-defined]


def _thread(state: ExecutionState) -> None:
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 30)
    asyncio.get_running_loop().stop()


def _cancel(state: ExecutionState) -> None:
    for each in asyncio.all_tasks():
        each.cancel()


def _snapshot(state: ExecutionState) -> None:
    if state.snapshot is None:
        state.save_snapshot(Changed())
        raise ValueError("first")


_BREAKS = {
    "exit": _exit,
    "stop": lambda _: asyncio.get_running_loop().stop(),
    "thread": _thread,
    "cancel": _cancel,
    "snapshot": _snapshot,
}


async def holds_the_interpreter(task: dict[str, Any], state: ExecutionState) -> str:
    """The first time, in C code that lets no other thread run."""
    if state.snapshot is None:
        state.save_snapshot(1)
        ctypes.PyDLL(None).sleep(60)
    return "done"


def makes_room(task: dict[str, Any], state: ExecutionState) -> str:
    """One that says so is long, the first time."""
    if "post" in task and state.snapshot is None:
        state.save_snapshot(1)
        announce(task["post"])
        state.sleep(60)
    return "done"
