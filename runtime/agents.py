"""What an agent is: a callable `(task_input)` or `(task_input, state)`, sync or async; and how one is checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, overload

from runtime.agent_arguments import bound_arguments, check_bound, with_placeholders
from runtime.agent_setup import NO_SETUP, AgentSetup, Initializers, Lifespan, make_setup
from runtime.agent_signature import FORM, StateArgument, find_state_argument
from runtime.errors import UsageError
from runtime.limits import check_count, check_seconds

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = "__quiesce_agent__"
_SETUP = "__quiesce_setup__"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """What `@agent(...)` can say of an agent. None means: as the run says.

    `timeout`, `timeout_grace`, `grace` and `term_grace` are seconds; `retries` is how often a failed task is tried
    again.
    """

    name: str | None = None
    timeout: float | None = None
    retries: int | None = None
    grace: float | None = None
    term_grace: float | None = None
    timeout_grace: float | None = None

    def __post_init__(self) -> None:
        check_seconds("timeout", self.timeout, above_zero=True)
        check_count("retries", self.retries, least=0)
        check_seconds("grace", self.grace)
        check_seconds("term_grace", self.term_grace)
        check_seconds("timeout_grace", self.timeout_grace)


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """What was found out about a callable that is to be an agent."""

    name: str
    asynchronous: bool
    options: AgentOptions
    setup: AgentSetup = NO_SETUP
    state_argument: StateArgument = StateArgument.POSITIONAL
    arguments: Mapping[str, Any] = field(default_factory=dict)


@overload
def agent(function: F, /) -> F: ...
@overload
def agent(
    *,
    name: str | None = None,
    timeout: float | None = None,
    retries: int | None = None,
    grace: float | None = None,
    term_grace: float | None = None,
    timeout_grace: float | None = None,
    lifespan: Lifespan | None = None,
    initializer: Initializers | None = None,
) -> Callable[[F], F]: ...
def agent(function: Any = None, /, *, lifespan: Any = None, initializer: Any = None, **options: Any) -> Any:
    """Mark a callable as an agent, bare (`@agent`) or with AgentOptions (`@agent(timeout=30)`).

    The callable itself comes back, so it stays picklable by name and callable by hand. Marking is optional:
    any callable with the right signature will do. Raises UsageError when it can be called neither with
    `(task_input)` nor with `(task_input, state)`.

    lifespan: a function that makes a context manager, sync or async. Each executor enters it once, before the first
    task, and leaves it before it exits; what it yields is `state.resource`.
    initializer: a function, or a list of them; each executor calls them once, before the lifespan is entered.
    Both get those arguments of the agent (`--arg`, or bound by `functools.partial`) that they have a parameter for.
    """

    def mark(target: Any) -> Any:
        setattr(target, _OPTIONS, AgentOptions(**options))
        setattr(target, _SETUP, make_setup(lifespan, initializer))
        describe(with_placeholders(target))
        return target

    return mark if function is None else mark(function)


def options_of(target: object) -> AgentOptions:
    """Return what `@agent(...)` said of a callable, or of the one that it is a `partial` of."""
    return getattr(_marked(target), _OPTIONS, None) or AgentOptions()


def _marked(target: object) -> object:
    """Return the callable that was marked: the one inside of a `partial`, unless that was marked itself."""
    while isinstance(target, partial) and not hasattr(target, _OPTIONS):
        target = target.func
    return target


def describe(target: object) -> AgentInfo:
    """Check that `target` can be an agent. Raises UsageError, in one line, when it cannot."""
    options = options_of(target)
    marked = _marked(target)
    name = options.name or getattr(marked, "__qualname__", None) or type(marked).__name__
    if not callable(target):
        raise UsageError(f"{target!r:.80} ({type(target).__name__}) is not callable; an agent is {FORM}")
    if inspect.isclass(target):
        raise UsageError(f"{name} is a class; an agent is a callable {FORM}: name an instance or a function")
    check_bound(target, name)
    state_argument = find_state_argument(target, name)
    call: Any = target
    while isinstance(call, partial):
        call = call.func
    if not inspect.isroutine(call):  # an object: what it does is in its __call__
        call = call.__call__
    inner = inspect.unwrap(call)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise UsageError(
            f"{name} is a generator function; an agent returns its result and reports with state.progress or events"
        )
    asynchronous = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(inner)
    return AgentInfo(
        name=name,
        asynchronous=asynchronous,
        options=options,
        setup=getattr(marked, _SETUP, NO_SETUP),
        state_argument=state_argument,
        arguments=bound_arguments(target),
    )
