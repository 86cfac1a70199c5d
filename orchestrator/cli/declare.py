"""Declare the options and arguments of commands, for both of those that parse them.

Theory. Importing typer, building all commands with it and having it parse (which loads pydantic) takes four times as
long as a small command. So commands declare their parameters by the plain objects here: `quick_command` parses what is
usual by them, and `for_typer` makes typer's of them for everything else: help, completion, and every mistake.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Self, get_args, get_origin


class Exit(Exception):
    """End a command with an exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Context:
    """How a command was called, for those that need more than its parameters: typer's context has more."""

    def __init__(self) -> None:
        self.meta: dict[str, Any] = {}


class Parameter:
    """Describe a parameter of a command: its names, and what else typer is to know of it (`metavar`, `help`, …).

    parser: makes the value of the word; raises ValueError. check: raises UsageError for a value that is none.
    default_from: makes the value where neither an option nor the variable `envvar` has one.
    """

    kind = ""

    def __init__(
        self,
        *names: str,
        parser: Callable[[str], Any] | None = None,
        check: Callable[[Any], None] | None = None,
        default_from: Callable[[], Any] | None = None,
        **more: Any,
    ) -> None:
        self.names = names
        self.parser = parser
        self.check = check
        self.default_from = default_from
        self.more = more

    @property
    def help(self) -> str:
        """Return the help text."""
        return str(self.more.get("help") or "")

    @property
    def min(self) -> int | None:
        """Return the least value of a number, if there is one."""
        return self.more.get("min")

    @property
    def max(self) -> int | None:
        """Return the largest value of a number, if there is one."""
        return self.more.get("max")

    def with_help(self, text: str) -> Self:
        """Return the parameter with another help text."""
        more = {**self.more, "help": text}
        return type(self)(*self.names, parser=self.parser, check=self.check, default_from=self.default_from, **more)

    def for_typer(self) -> Any:
        """Return typer's description of this parameter."""
        typer = importlib.import_module("typer")
        more = dict(self.more)
        if self.parser is not None:
            more["parser"] = _option_parser(self.parser, typer.BadParameter)
        if self.check is not None or self.default_from is not None:
            more["callback"] = self._make_callback(typer)
        return getattr(typer, self.kind)(*self.names, **more)

    def _make_callback(self, typer: Any) -> Callable[..., Any]:
        """Return typer's callback for a value."""

        def callback(context: Any, param: Any, value: Any) -> Any:
            if context.resilient_parsing:
                return value
            if self.check is not None:
                self.check(value)
            source = context.get_parameter_source(param.name)  # its name is compared: typer may bring its own click
            is_default = source is not None and source.name == "DEFAULT"
            return self.default_from() if is_default and self.default_from is not None else value

        callback.__annotations__ = {"context": typer.Context, "param": typer.CallbackParam, "value": Any}
        return callback


class Option(Parameter):
    """Describe an option. Without names it is `--` and the name of the parameter."""

    kind = "Option"


class Argument(Parameter):
    """Describe an argument, which is found by its place."""

    kind = "Argument"


def for_typer(command: Callable[..., Any]) -> Callable[..., None]:
    """Return a command whose parameters are typer's."""
    parameters = [
        parameter.replace(annotation=_convert(parameter.annotation))
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
    ]

    @functools.wraps(command)
    def run_command(**values: Any) -> None:
        try:
            command(**values)
        except Exit as end:
            raise importlib.import_module("typer").Exit(end.code) from None

    run_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run_command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run_command


def _convert(annotation: Any) -> Any:
    if annotation is Context:
        return importlib.import_module("typer").Context
    if get_origin(annotation) is not Annotated:
        return annotation
    hint, *marks = get_args(annotation)
    described = [mark.for_typer() if isinstance(mark, Parameter) else mark for mark in marks]
    return Annotated[(hint, *described)]


def _option_parser(parse: Callable[[str], Any], bad_parameter: type[Exception]) -> Callable[[str], Any]:
    @functools.wraps(parse)
    def parse_option(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise bad_parameter(str(error)) from None

    return parse_option
