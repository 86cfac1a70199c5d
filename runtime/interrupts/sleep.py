"""Sleep that an interrupt ends at once, in an event loop and without one.

Without one it blocks in poll(), on the host's wake descriptor and on a private one that a local trip writes to:
never on a threading.Event, whose lock a signal handler could already hold (cpython#126434).
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Generator

from runtime.interrupts.interruptible import Interruptible
from runtime.native import RLock

_LONGEST = 3600.0
"""Seconds of one poll(), which counts milliseconds in an int."""


class CompletedAwaitable:
    """An awaitable that has already happened. Awaiting it does not yield to the loop."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


async def sleep_in_loop(state: Interruptible, seconds: float) -> None:
    """Sleep in the running loop. Raises ExecutionInterrupted at once on interrupt; a shield holds it back."""
    if state.is_shielded:
        await asyncio.sleep(seconds)
        return
    state.raise_if_interrupted()
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def wake() -> None:
        if not woken.done():
            woken.set_result(None)

    timer = loop.call_later(max(0.0, seconds), wake)
    remove = state.when_interrupted(wake)
    try:
        await woken
    finally:
        timer.cancel()
        remove()
    state.raise_if_interrupted()


class WakeupFd:
    """A descriptor that is readable after `wake`. Each state makes one lazily, for its blocking sleeps.

    `wake` may run in a signal handler, hence the RLock: a handler that finds its own thread holding it enters
    nevertheless, and another thread holds it for one write only.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._read = self._write = -1  # there may be no descriptor left
        self._read, self._write = _pair()

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._read

    def wake(self) -> None:
        """Make it readable for ever. Does nothing after `close`."""
        with self._lock:
            if self._write >= 0:
                try:
                    os.write(self._write, b"\x01\0\0\0\0\0\0\0")
                except BlockingIOError:  # full
                    pass

    def close(self) -> None:
        """Close the descriptors. The lock keeps a late `wake` from writing into a reused one."""
        with self._lock:
            fds, self._read, self._write = {self._read, self._write}, -1, -1
            for fd in fds - {-1}:
                os.close(fd)

    __del__ = close


def _pair() -> tuple[int, int]:
    try:
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    except (AttributeError, OSError):  # not Linux; a sandbox refuses it
        pass
    else:
        return fd, fd
    read, write = os.pipe()
    os.set_blocking(write, False)
    return read, write


def sleep_blocking(state: Interruptible, seconds: float, fds: list[int], time_left: float) -> None:
    """Block this thread. Raises ExecutionInterrupted as soon as one of `fds` is readable or `time_left` is over.

    Not for use in a shield.
    """
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    end = time.monotonic() + seconds
    limit = time.monotonic() + time_left
    while True:
        state.raise_if_interrupted()
        now = time.monotonic()
        if now >= end:
            return
        poller.poll(max(0.0, min(end - now, limit - now, _LONGEST)) * 1000)
