"""The generators of an execution: background tasks and async generators that must not outlive it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from runtime.errors import ExecutionInterrupted
from runtime.interrupts.interruptible import Interruptible

log = logging.getLogger("quiesce.generators")

ManagedGenerator = asyncio.Task[Any] | AsyncGenerator[Any, Any]

_owners: ContextVar[tuple[_Owner, ...]] = ContextVar("quiesce_generator_owners", default=())


@dataclass(frozen=True, slots=True)
class KillReport:
    """What `kill_generators` did: how many ended, and the names of those that refused to within the limit."""

    killed: int = 0
    survivors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Owner:
    """An outermost execution on a state. What is registered inside it ends with it."""

    registry: GeneratorRegistry


@dataclass(slots=True)
class _Entry:
    """A registered generator. `dying` is what ends when it has been cancelled."""

    name: str
    owner: _Owner | None
    cancel_task: asyncio.Task[Any] | None = None
    survivors: bool = False


class GeneratorRegistry:
    """Tasks and async generators that are cancelled and awaited when their execution ends or is interrupted.

    Belongs to one event loop. A finished one leaves by itself.
    """

    def __init__(self, state: Interruptible) -> None:
        self._state = state
        self._entries: dict[ManagedGenerator, _Entry] = {}
        self._stop_listening: Callable[[], None] | None = None

    def register(self, generator: ManagedGenerator, name: str | None = None) -> None:
        """Take a task or an async generator in charge. On an interrupted state it is cancelled at once.

        Raises TypeError for anything else.
        """
        if isinstance(generator, asyncio.Task):
            own_name = generator.get_name()
            generator.add_done_callback(self._finished)
        elif isinstance(generator, AsyncGenerator):
            own_name = getattr(generator, "__qualname__", type(generator).__name__)
        else:
            raise TypeError(f"a generator is an asyncio task or an async generator, not a {type(generator).__name__}")
        self._entries[generator] = _Entry(name or own_name, self._owner())
        if self._stop_listening is None or self._state.is_interrupted:  # a bell that has rung calls newcomers only
            self._listen()

    def _listen(self) -> None:
        if self._stop_listening is not None:
            self._stop_listening()
        self._stop_listening = self._state.when_interrupted(self.cancel)

    def unregister(self, generator: ManagedGenerator) -> None:
        """Let go of it. Nothing happens if it is not registered."""
        self._entries.pop(generator, None)
        if not self._entries and self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None

    def _finished(self, task: asyncio.Task[Any]) -> None:
        """Unregister a task that has ended. Its exception is logged if it was cancelled here."""
        entry = self._entries.get(task)
        self.unregister(task)
        if entry is None or task.cancelled() or not (entry.cancel_task is not None or self._state.is_interrupted):
            return
        error = task.exception()
        if error is not None and not isinstance(error, ExecutionInterrupted):
            log.warning("the generator %s failed as it ended: %r", entry.name, error)

    @property
    def active(self) -> tuple[ManagedGenerator, ...]:
        """Those that have not finished."""
        for generator in tuple(self._entries):
            if not isinstance(generator, asyncio.Task) and getattr(generator, "ag_frame", self) is None:
                self.unregister(generator)
        return tuple(self._entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of those that have not finished."""
        return tuple(self._entries[generator].name for generator in self.active)

    @asynccontextmanager
    async def scope(self, limit: Callable[[], float]) -> AsyncIterator[None]:
        """Run the body as an execution. Generators registered inside an outermost one are killed as it ends.

        `limit()` is then the seconds to wait for it.
        """
        if self._owner() is not None:
            yield
            return
        owner = _Owner(self)
        token = _owners.set((*_owners.get(), owner))
        try:
            yield
        finally:
            _owners.reset(token)
            if self._entries:
                await self.kill(limit(), None if self._state.is_interrupted else owner)

    def _owner(self) -> _Owner | None:
        return next((owner for owner in _owners.get() if owner.registry is self), None)

    def cancel(self, owner: _Owner | None = None) -> list[_Entry]:
        """Cancel all (or one owner's), each once however often this is called; the calling task is left out.

        A task in a shield is cancelled as it leaves it. Returns those that have yet to end.
        """
        current = asyncio.current_task()
        entries = []
        for generator in self.active:
            entry = self._entries[generator]
            if generator is current or (owner is not None and entry.owner is not owner):
                continue
            if entry.cancel_task is None:
                entry.cancel_task = self._start_cancel(generator)
            entries.append(entry)
        return entries

    def _start_cancel(self, generator: ManagedGenerator) -> asyncio.Task[Any]:
        if isinstance(generator, asyncio.Task):
            self._state.cancel(generator)
            return generator
        return asyncio.create_task(self._close(generator, self._entries[generator].name), name="quiesce-aclose")

    async def _close(self, generator: AsyncGenerator[Any, Any], name: str) -> None:
        try:
            await generator.aclose()
        except ExecutionInterrupted:  # its clean-up came to a checkpoint
            pass
        except Exception as error:  # noqa: BLE001 - its own, or "already running": the iterating code must end it
            log.warning("the async generator %s was not closed: %r", name, error)
        if getattr(generator, "ag_frame", None) is None:
            self.unregister(generator)

    async def kill(self, limit: float, owner: _Owner | None = None) -> KillReport:
        """Cancel all (or one owner's) and await them, for `limit` seconds at most, also if the caller is cancelled.

        Those that refuse stay registered, are logged, and are not waited for again.
        """
        entries = self.cancel(owner)
        waiting = {
            entry.cancel_task: entry for entry in entries if entry.cancel_task is not None and not entry.survivors
        }
        if not waiting:
            return KillReport(survivors=tuple(entry.name for entry in entries))
        cancelled = await _wait_despite_cancellation(set(waiting), limit)
        left = set(map(id, self._entries.values()))
        for entry in waiting.values():
            entry.survivors = id(entry) in left
        refused = tuple(entry.name for entry in entries if entry.survivors)
        if refused:
            log.warning("generators refuse to end: %s", ", ".join(refused))
        if cancelled is not None:
            raise cancelled
        return KillReport(killed=len(entries) - len(refused), survivors=refused)


async def _wait_despite_cancellation(tasks: set[asyncio.Task[Any]], limit: float) -> asyncio.CancelledError | None:
    """Wait for all, for `limit` seconds, whatever is thrown at us meanwhile: that comes back, to be raised then."""
    loop = asyncio.get_running_loop()
    end, cancelled = loop.time() + limit, None
    while tasks:
        try:
            await asyncio.wait(tasks, timeout=end - loop.time())
            break
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
