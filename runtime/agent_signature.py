"""Decide from an agent's signature how it is called: with its input alone, or with the state of the execution too.

The input goes to the first parameter. The state goes to the second one if it is required, is named `state`, is
annotated as ExecutionState, or is `*args`. It also goes to a keyword-only parameter `state`: `functools.partial` makes
one of a parameter that comes behind one that it binds by name. Any other parameter keeps its default. A builtin gets
its input alone, unless it requires two arguments.
"""

from __future__ import annotations

import enum
import functools
import inspect
from collections.abc import Callable
from typing import Any, Final

from runtime.errors import UsageError

FORM: Final = "agent(task_input) or agent(task_input, state)"
"""How an agent is called, for messages."""

Parameter = inspect.Parameter


class StateArgument(enum.Enum):
    """How an agent gets the state of its execution."""

    NONE = enum.auto()
    POSITIONAL = enum.auto()
    KEYWORD = enum.auto()


def find_state_argument(target: Callable[..., Any], name: str) -> StateArgument:
    """Return how the agent `target` gets the state. Raises UsageError when it cannot be called as an agent."""
    try:
        signature = inspect.signature(target)
    except ValueError:  # a builtin without a signature: its first call will tell
        return StateArgument.NONE
    except TypeError as error:  # a __signature__ that is none
        raise UsageError(f"{name} has a signature that cannot be read: {error}") from None
    signature = signature.replace(return_annotation=inspect.Signature.empty)  # of no use in a message
    parameters = list(signature.parameters.values())
    positional = [parameter for parameter in parameters if parameter.kind <= Parameter.VAR_POSITIONAL]
    required = [parameter for parameter in positional if _is_required(parameter)]
    bound: dict[str, Any] = target.keywords if isinstance(target, functools.partial) else {}
    keywords = [one for one in parameters if one.kind is Parameter.KEYWORD_ONLY and one.name not in bound]
    missing = [parameter.name for parameter in keywords if _is_required(parameter) and parameter.name != "state"]
    if not positional:
        raise UsageError(f"{name}{signature} takes no input: an agent is {FORM}")
    if len(required) > 2:
        names = ", ".join(parameter.name for parameter in required)
        raise UsageError(f"{name}{signature} requires {len(required)} arguments ({names}): an agent is {FORM}{_CURE}")
    if missing:
        raise UsageError(f"{name}{signature} requires {', '.join(missing)}: an agent is {FORM}{_CURE}")
    return _place_of_state(target, positional, keywords)


_CURE: Final = "; bind the others with functools.partial, or give them defaults"


def _place_of_state(
    target: object, positional: list[inspect.Parameter], keywords: list[inspect.Parameter]
) -> StateArgument:
    second = positional[1] if len(positional) > 1 else positional[0]
    is_variadic = second.kind is Parameter.VAR_POSITIONAL and not inspect.isbuiltin(target)
    if is_variadic or (second is not positional[0] and (_is_required(second) or _is_state(second))):
        return StateArgument.POSITIONAL
    return StateArgument.KEYWORD if any(map(_is_state, keywords)) else StateArgument.NONE


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is Parameter.empty and parameter.kind is not Parameter.VAR_POSITIONAL


def _is_state(parameter: inspect.Parameter) -> bool:
    """Return whether a parameter is meant for the state. An annotation may be text (PEP 563)."""
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return parameter.name == "state" or text.split(".")[-1] == "ExecutionState"


def with_state(target: Callable[..., Any], state_argument: StateArgument) -> Callable[[Any, Any], Any]:
    """Return a callable `(task_input, state)` that calls the agent; the agent itself if it takes both."""
    if state_argument is StateArgument.POSITIONAL:
        return target
    if state_argument is StateArgument.KEYWORD:
        return lambda task_input, state: target(task_input, state=state)
    return lambda task_input, _: target(task_input)
