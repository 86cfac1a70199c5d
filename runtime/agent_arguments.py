"""Arguments of an agent beside its input and its state: those that it has, and those that `partial` binds. A leaf."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from runtime.errors import UsageError

Parameter = inspect.Parameter


def settable_parameters(target: Callable[..., Any]) -> dict[str, Parameter]:
    """Return the parameters of an agent that can be given as arguments: those with a default, and keyword-only ones.

    Its input and its state are none of them.
    """
    parameters = list(inspect.signature(target).parameters.values())
    positional = [one for one in parameters if one.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    taken = {one.name for one in positional[:1]}
    if len(positional) > 1 and (positional[1].default is Parameter.empty or _is_state(positional[1])):
        taken.add(positional[1].name)
    return {one.name: one for one in parameters if one.name not in taken and not _is_state(one) and _is_settable(one)}


def with_placeholders(target: Any) -> Any:
    """Return an agent with None for each keyword-only argument that it requires: its value comes when it is loaded."""
    try:
        parameters = settable_parameters(target)
    except (TypeError, ValueError):
        return target
    missing = {one.name: None for one in parameters.values() if one.default is Parameter.empty}
    return partial(target, **missing) if missing else target


def check_required(parameters: Mapping[str, Parameter], bound: Iterable[str], name: str) -> None:
    """Raise UsageError if an agent requires an argument that is not bound."""
    for one, described in parameters.items():
        if described.default is Parameter.empty and one not in bound:
            raise UsageError(f"{name} needs the argument {one}: give --arg {one}=VALUE")


def _is_settable(parameter: Parameter) -> bool:
    has_default = parameter.default is not Parameter.empty
    return parameter.kind is Parameter.KEYWORD_ONLY or (
        parameter.kind is Parameter.POSITIONAL_OR_KEYWORD and has_default
    )


def _is_state(parameter: Parameter) -> bool:
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return parameter.name == "state" or text.split(".")[-1] == "ExecutionState"


def bound_arguments(target: object) -> dict[str, Any]:
    """Return the keyword arguments that `functools.partial` binds, those of nested ones included."""
    arguments: dict[str, Any] = {}
    while isinstance(target, partial):
        arguments = {**target.keywords, **arguments}
        target = target.func
    return arguments


def check_bound(target: object, name: str) -> None:
    """Raise UsageError if `functools.partial` binds an argument that the agent does not have."""
    inner = target
    while isinstance(inner, partial):
        inner = inner.func
    if inner is target or not callable(inner):
        return
    try:
        parameters = inspect.signature(inner).parameters
    except (TypeError, ValueError):
        return
    if any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values()):
        return
    for argument in bound_arguments(target):
        if argument not in parameters:
            raise unknown_argument(name, argument, settable_parameters(inner))


def unknown_argument(name: str, argument: str, known: Iterable[str]) -> UsageError:
    """Return the error for an argument that an agent does not have; it names the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(argument, names, 1)
    others = f"it has {', '.join(names)}" if names else "it takes none"
    hint = f"did you mean {near[0]}?" if near else others
    return UsageError(f"{name} has no argument {argument!r}; {hint}")


def select_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those arguments that a function, such as a lifespan, has a parameter of the same name for."""
    if not arguments:
        return {}
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return {one.name: arguments[one.name] for one in parameters if one.kind in kinds and one.name in arguments}
