"""Wake an event loop on an interrupt: one waker for each loop, however many callbacks it has.

An interrupt may come from another thread, from a signal handler, or from the supervisor through a descriptor that
becomes readable. All end in `LoopWaker.wake`, which only schedules; the callbacks run in the loop. One waker for ten
thousand sleepers is one write to the loop's self-pipe instead of ten thousand.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from weakref import WeakKeyDictionary

_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, _SharedReader]] = WeakKeyDictionary()


class LoopWaker:
    """Callbacks of one event loop, to be called there once. Belongs to the loop's thread, except `wake`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, before: Callable[[], object]) -> None:
        self.loop = loop
        self._before = before
        self._callbacks: dict[object, Callable[[], object]] = {}
        self._rung = False

    def __len__(self) -> int:
        return len(self._callbacks)

    def add(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Add a callback and return its remover. After `wake` the callback is called soon."""
        key = object()
        self._callbacks[key] = callback
        if self._rung:
            self.loop.call_soon(self._call, key)

        def remove() -> None:
            self._callbacks.pop(key, None)

        return remove

    def wake(self) -> None:
        """Schedule the callbacks in their loop. From any thread or signal handler, any number of times."""
        call_soon_threadsafe_or_false(self.loop, self._fire)

    def _fire(self) -> None:
        if self._rung:
            return
        self._rung = True
        self._before()
        for key in tuple(self._callbacks):
            self._call(key)

    def _call(self, key: object) -> None:
        callback = self._callbacks.get(key)
        if callback is not None:
            callback()


class _SharedReader:
    """One reader on a duplicate of a descriptor, shared by all its callbacks in one loop.

    A duplicate, because a loop has one reader for each descriptor and the original's may be the program's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self._loop = loop
        self._fd = os.dup(fd)
        self._reading = True
        self.callbacks: dict[object, Callable[[], None]] = {}
        loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        self._stop_reading()  # it stays readable: once is enough
        for callback in tuple(self.callbacks.values()):
            callback()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            if not self._loop.is_closed():
                self._loop.remove_reader(self._fd)

    @property
    def spent(self) -> bool:
        """Return whether it was readable already, so that a new callback must not wait for it."""
        return not self._reading

    def close(self) -> None:
        """Close the duplicate."""
        self._stop_reading()
        os.close(self._fd)


def on_readable(loop: asyncio.AbstractEventLoop, fd: int, callback: Callable[[], None]) -> Callable[[], None]:
    """Have `callback` called in `loop` once `fd` is readable. Nothing is read. Returns the remover."""
    watches = _watches.setdefault(loop, {})
    if fd not in watches:
        watches[fd] = _SharedReader(loop, fd)
    shared, key = watches[fd], object()
    shared.callbacks[key] = callback
    if shared.spent:
        callback()

    def remove() -> None:
        if shared.callbacks.pop(key, None) is not None and not shared.callbacks:
            watches.pop(fd, None)
            shared.close()

    return remove


def call_soon_threadsafe_or_false(
    loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: object
) -> bool:
    """Have `callback` called in `loop`, from any thread or signal handler. False if the loop is closed."""
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:  # closed, perhaps just now
        return False
    return True


def loop_time() -> float:
    """Return the running event loop's time (monotonic seconds)."""
    return asyncio.get_running_loop().time()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
