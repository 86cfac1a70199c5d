"""The work that every contender is given. With `state` each is an agent; without, what other pools call."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime import ExecutionState

TIME = struct.Struct("=d")
"""How a process tells a moment of the shared monotonic clock."""

NAP = 0.01
"""Seconds that one task of the crash benchmark takes."""


def tiny(number: int, state: ExecutionState | None = None) -> int:
    """As good as nothing, so that what is measured is the way there and back."""
    return number + 1


def large(number: int, state: ExecutionState | None = None) -> str:
    """Return 10 KB."""
    return f"{number:010}" * 1000


def stand(path: str, state: ExecutionState | None = None) -> None:
    """Take hold of the proof at `path`, then wait for as long as one lets us: a cooperative task, doing nothing."""
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b".")
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if state is None:
            time.sleep(0.05)
        else:
            state.sleep(120)


def event_data(who: int, number: int) -> dict[str, Any]:
    """Return the data of an event: about 180 bytes of JSON, nested as those of agents are."""
    return {
        "who": who,
        "n": number,
        "call": {"tool": "search", "arguments": {"query": "how to stop", "limit": 10}, "ok": True},
        "usage": {"prompt": 1200, "completion": 85, "cached": None},
        "path": ["plan", "act"],
    }


def chatter(order: dict[str, int], state: ExecutionState) -> None:
    """Emit many events, numbered from 0, each sent at once."""
    for number in range(order["events"]):
        state.emit("n", **event_data(order["who"], number))


def die_once(order: dict[str, Any], state: ExecutionState | None = None) -> int:
    """Run a short task; the one named to die is SIGKILLed, with its executor, the first time it runs."""
    time.sleep(NAP)
    if order["dies"] and not os.path.exists(order["mark"]):
        with open(order["mark"], "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return int(order["number"])


def blocked(path: str, state: ExecutionState) -> None:
    """Sleep, and return the time at which the sleep was cut short."""
    with open(path, "wb", buffering=0) as out:
        out.write(TIME.pack(0))
        try:
            state.sleep(60)
        finally:
            out.write(TIME.pack(time.monotonic()))


async def awaiting(path: str, state: ExecutionState) -> None:
    """Await, and return the time at which the await was cut short."""
    with open(path, "wb", buffering=0) as out:  # noqa: ASYNC230 - a FIFO whose other end is open
        out.write(TIME.pack(0))
        try:
            await asyncio.sleep(60)
        finally:
            out.write(TIME.pack(time.monotonic()))
