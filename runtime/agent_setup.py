"""What `@agent(lifespan=…, initializer=…)` asks for: functions that prepare an executor for an agent. A leaf.

How an executor performs it is in runtime/execution/lifespans.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any

from runtime.errors import UsageError

Lifespan = Callable[..., AbstractContextManager[Any] | AbstractAsyncContextManager[Any]]
Initializer = Callable[..., object]
Initializers = Initializer | Sequence[Initializer]


@dataclass(frozen=True, slots=True)
class AgentSetup:
    """Hold how an executor is prepared for an agent.

    lifespan: returns a context manager, sync or async; the executor enters it once, and what it gives is
    `state.resource`.
    initializers: called once, in order, before the lifespan is entered.
    """

    lifespan: Lifespan | None = None
    initializers: tuple[Initializer, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is anything to do."""
        return self.lifespan is not None or bool(self.initializers)


NO_SETUP = AgentSetup()


def make_setup(lifespan: Any, initializer: Any) -> AgentSetup:
    """Return the set-up of an agent from the arguments of `@agent`. Raises UsageError for what cannot be one."""
    if lifespan is not None:
        _check_lifespan(lifespan)
    if initializer is None:
        initializers = []
    elif isinstance(initializer, list | tuple):
        initializers = list(initializer)
    else:
        initializers = [initializer]
    for function in initializers:
        if not callable(function):
            raise UsageError(f"the initializer {function!r:.80} is not callable: give a function, or a list of them")
        inner = inspect.unwrap(function)
        if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
            raise UsageError(f"the initializer {name_of(function)} is a generator function: use it as a lifespan")
    return AgentSetup(lifespan, tuple(initializers))


def _check_lifespan(lifespan: Any) -> None:
    name = name_of(lifespan)
    is_manager = any(hasattr(type(lifespan), method) for method in ("__enter__", "__aenter__"))
    if is_manager:
        raise UsageError(
            f"the lifespan {name} is a context manager already: give the function that makes one, uncalled"
        )
    if not callable(lifespan):
        raise UsageError(f"the lifespan {lifespan!r:.80} is not callable: give a function that makes a context manager")
    for is_generator, decorator in (
        (inspect.isgeneratorfunction(lifespan), "contextlib.contextmanager"),
        (inspect.isasyncgenfunction(lifespan), "contextlib.asynccontextmanager"),
    ):
        if is_generator:
            raise UsageError(f"the lifespan {name} is a generator function: decorate it with @{decorator}")
    if inspect.iscoroutinefunction(lifespan):
        raise UsageError(
            f"the lifespan {name} is a coroutine function: let it yield its value, and decorate it with "
            "@contextlib.asynccontextmanager"
        )


def name_of(function: Any) -> str:
    """Return the name of a callable for messages."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    return str(getattr(function, "__qualname__", type(function).__name__))
