"""Run an executor's async tasks on its event loop, and wait for the first of several things to happen."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class AsyncTaskSet:
    """The tasks that run. Belongs to the running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: set[asyncio.Task[None]] = set()
        self._changed = self._loop.create_future()
        self._error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._running)

    @property
    def is_idle(self) -> bool:
        """Whether no task runs."""
        return not self._running

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task of its own."""
        task = self._loop.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._tell(None if task.cancelled() else task.exception())

    def _tell(self, error: BaseException | None = None) -> None:
        self._error = self._error or error  # EventPipeLost, or a defect of ours: it must end the executor
        if not self._changed.done():
            self._changed.set_result(None)

    async def wait(self, sources: list[int]) -> None:
        """Wait until a task ends or one of the descriptors is readable."""
        for fd in sources:
            self._loop.add_reader(fd, self._tell)
        try:
            await self._changed
        finally:
            for fd in sources:
                self._loop.remove_reader(fd)
        if self._error is not None:
            raise self._error
        self._changed = self._loop.create_future()

    async def close(self) -> None:
        """Cancel the tasks that still run, and wait for them."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        if not self._changed.done():
            self._changed.cancel()
