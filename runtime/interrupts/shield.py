"""Shields: critical sections that an interrupt waits for.

A shield is known in two ways. The code inside asks its context (`Shields.is_active`), which tasks and threads that are
started inside inherit. Code that wants to cancel a task from outside asks for its place (`Shields.covers`).
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Protocol, Self

from runtime.errors import ExecutionInterrupted

_active: ContextVar[tuple[Shield, ...]] = ContextVar("quiesce_shields", default=())


class Shieldable(Protocol):
    """What can be shielded from."""

    shields: Shields

    def raise_if_interrupted(self) -> None:
        """Run the checkpoint at a shield's end."""
        ...


class Shields:
    """The shields of one execution: where they stand, and what waits for their end."""

    __slots__ = ("_depth", "_waiting", "term_pending")

    def __init__(self) -> None:
        self.term_pending = False
        """The TERM rung came while one was held: its exception comes at the end, also of one that an error leaves."""
        self._depth: dict[object, int] = {}
        self._waiting: dict[object, list[Callable[[], object]]] = {}

    @property
    def is_active(self) -> bool:
        """Return whether the calling code is in one of them, itself or by inheritance."""
        return any(shield.active and shield.owner.shields is self for shield in _active.get())

    def covers(self, place: object) -> bool:
        """Return whether a task (an asyncio.Task) or a thread (its ident) has entered one of them."""
        return place in self._depth

    def call_when_exited(self, place: object, callback: Callable[[], object]) -> None:
        """Call `callback` when `place` stands in no shield any more: now, or as its outermost one ends.

        Not called if that end raises ExecutionInterrupted, or was part of clean-up: then `place` knows already.
        """
        if place in self._depth:
            self._waiting.setdefault(place, []).append(callback)
        else:
            callback()

    def enter(self, place: object) -> None:
        """Count one more at `place`."""
        self._depth[place] = self._depth.get(place, 0) + 1

    def leave(self, place: object) -> list[Callable[[], object]] | None:
        """Count one less. Return the waiting callbacks if that was the outermost, else None."""
        self._depth[place] -= 1
        if self._depth[place]:
            return None
        del self._depth[place]
        return self._waiting.pop(place, [])


class Shield:
    """The context manager of `state.shield()`. Use each one once."""

    def __init__(self, owner: Shieldable) -> None:
        self.owner = owner
        self.active = False
        self._place: object = None
        self._token: Token[tuple[Shield, ...]] | None = None
        self._cleaning_up = False

    def __enter__(self) -> Self:
        self._place = current_task_or_thread()
        self._cleaning_up = isinstance(sys.exc_info()[1], ExecutionInterrupted | asyncio.CancelledError)
        self.owner.shields.enter(self._place)
        self.active = True
        self._token = _active.set((*_active.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.active = False
        if self._token is not None:
            try:
                _active.reset(self._token)
            except ValueError:  # an async generator that another task closes: an inactive shield in a context is none
                pass
        waiting = self.owner.shields.leave(self._place)
        if waiting is None or self._cleaning_up:
            return
        if error is None or (self.owner.shields.term_pending and not isinstance(error, ExecutionInterrupted)):
            self.owner.raise_if_interrupted()
        for callback in waiting:
            callback()


def current_task_or_thread() -> object:
    """Return the running asyncio task, else the thread's ident."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident() if task is None else task
