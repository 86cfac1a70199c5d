"""Bind the arguments of a run (`--arg`, `--config`) to its agent: check them against its parameters and their types.

A parameter whose annotation is a pydantic model is a settings model: its fields can be given by their own names, and
it is made of its defaults where nothing is given. Values of other annotated parameters are converted as pydantic
converts them; what pydantic has no schema for is taken as it is.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from runtime.agent_arguments import Parameter, check_required, settable_parameters, unknown_argument
from runtime.errors import UsageError
from runtime.limits import show_value


def bind(target: Callable[..., Any], given: Mapping[str, Any], name: str) -> Callable[..., Any]:
    """Return the agent with its arguments bound; the agent itself if there is nothing to bind.

    `name` is the agent's, for messages. Raises UsageError, one line, for a name or a value that it does not take.
    """
    try:
        parameters = settable_parameters(target)
    except (TypeError, ValueError):  # a builtin without a signature
        return partial(target, **given) if given else target
    hints = _hints(target)
    models = {one: hint for one, hint in hints.items() if one in parameters and _is_model(hint)}
    values, fields = _sort_out(target, given, parameters, models, name)
    for parameter in models:
        default = parameters[parameter].default
        if parameter in values or fields[parameter] or default is Parameter.empty:
            whole = values.get(parameter, default.model_dump() if isinstance(default, BaseModel) else {})
            values[parameter] = {**whole, **fields[parameter]} if isinstance(whole, dict) else whole
    bound = {one: _convert(name, one, hints.get(one), value) for one, value in values.items()}
    check_required(parameters, bound, name)
    return partial(target, **bound) if bound else target


def _sort_out(
    target: Callable[..., Any],
    given: Mapping[str, Any],
    parameters: Mapping[str, Parameter],
    models: Mapping[str, type[BaseModel]],
    name: str,
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the values of parameters, and those of fields of each settings model."""
    takes_all = any(one.kind is Parameter.VAR_KEYWORD for one in inspect.signature(target).parameters.values())
    owners = {field: parameter for parameter, model in models.items() for field in _fields(model)}
    values: dict[str, Any] = {}
    fields: dict[str, dict[str, Any]] = {parameter: {} for parameter in models}
    for argument, value in given.items():
        if argument in parameters:
            values[argument] = value
        elif argument in owners:
            fields[owners[argument]][argument] = value
        elif takes_all:
            values[argument] = value
        else:
            raise unknown_argument(name, argument, {*parameters, *owners})
    return values, fields


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of an agent, resolved; none if they cannot be."""
    function: Any = target
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function if inspect.isroutine(function) else type(function).__call__)
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - names that exist for type checkers only
        return {}


def _is_model(hint: Any) -> bool:
    return inspect.isclass(hint) and issubclass(hint, BaseModel)


def _fields(model: type[BaseModel]) -> set[str]:
    aliases = {field.alias for field in model.model_fields.values() if field.alias}
    return {*model.model_fields, *aliases}


def _convert(name: str, argument: str, hint: Any, value: Any) -> Any:
    """Return the value of an argument as its annotation wants it. Raises UsageError."""
    if hint is None or hint is Any:
        return value
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
    except (PydanticUserError, TypeError):  # a class that pydantic knows nothing of
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        with_text = _with_text(value, error)
    try:
        return adapter.validate_python(with_text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, (argument, *first["loc"])))
        shown = "" if first["type"] == "missing" else f" = {show_value(first['input'])}"
        raise UsageError(f"{name}: the argument {where}{shown}: {first['msg'].removeprefix('Value error, ')}") from None


def _with_text(value: Any, error: ValidationError) -> Any:
    """Return a value with text where text is wanted: `--arg name=5` is JSON, a number."""
    for problem in error.errors(include_url=False):
        given, place = problem["input"], problem["loc"]
        if problem["type"] != "string_type" or not isinstance(given, int | float):
            continue
        text = msgspec.json.encode(given).decode()
        if not place:
            return text
        if len(place) == 1 and isinstance(value, dict):
            value = {**value, place[0]: text}
    return value
