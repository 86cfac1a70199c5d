"""Carry out a command whose arguments are the usual ones, without typer. See `declare`.

Only what is plain is understood here: options by their whole names, a value for each, arguments in their places.
Anything else, and every mistake, is for typer, which has the words for it.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Final, NoReturn, Union, get_args, get_origin

from orchestrator.cli.commands.parsing import number_of_jobs
from orchestrator.cli.declare import Argument, Context, Exit, Option, Parameter
from orchestrator.cli.mistakes import mistakes_in_one_line
from orchestrator.quick_answers import COMPLETION

MODULES: Final = {
    "run": "run",
    "resume": "run",
    "retry": "retry",
    "runs": "queries",
    "status": "queries",
    "results": "results",
    "events": "events",
    "failures": "failures",
    "show": "failures",
    "logs": "logs",
}
"""The module of each command that is parsed here."""


class NotUsualError(Exception):
    """These arguments are for typer."""


class Described:
    """One parameter of a command."""

    def __init__(self, parameter: inspect.Parameter) -> None:
        annotation = parameter.annotation
        if get_origin(annotation) is not Annotated or not isinstance(get_args(annotation)[1], Parameter):
            raise NotUsualError
        hint, declared = get_args(annotation)
        self.name = parameter.name
        self.default = parameter.default
        self.declared: Parameter = declared
        kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        kind = next(kind for kind in kinds if kind is not types.NoneType)
        self.is_list = get_origin(kind) is list
        self.kind: Any = get_args(kind)[0] if self.is_list else kind

    def names(self) -> Iterator[tuple[str, bool]]:
        """Return the names of an option, each with the value that a flag then has."""
        if not isinstance(self.declared, Option):
            return
        for name in self.declared.names or (f"--{self.name.replace('_', '-')}",):
            on, _, off = name.partition("/")
            yield on, True
            if off:
                yield off, False

    def read(self, word: str) -> Any:
        """Return the value that a word stands for. Raises NotUsualError."""
        try:
            if self.declared.parser is not None:
                return self.declared.parser(word)
            if isinstance(self.kind, type) and issubclass(self.kind, Enum):
                return self.kind(word)
            value = _READERS[self.kind](word)
        except (KeyError, ValueError):
            raise NotUsualError from None
        if self.declared.check is not None:
            self.declared.check(value)
        low, high = self.declared.min, self.declared.max
        if (low is not None and value < low) or (high is not None and value > high):
            raise NotUsualError
        return value

    def missing(self) -> Any:
        """Return the value where no word gives one. Raises NotUsualError."""
        variable = self.declared.more.get("envvar")
        text = os.environ.get(variable) if variable else None
        if text:
            return self.read(text)
        if self.declared.default_from is not None:
            return self.declared.default_from()
        if self.default is inspect.Parameter.empty:
            raise NotUsualError
        return self.default


def _int(word: str) -> int:
    if not word.removeprefix("-").isdecimal() or not word.isascii():
        raise ValueError(word)
    return int(word)


_READERS: Final[dict[Any, Callable[[str], Any]]] = {str: str, int: _int, float: float}


def read_arguments(command: Callable[..., Any], words: Sequence[str]) -> dict[str, Any] | None:
    """Return the values of a command's parameters by name; None if these words are not the usual ones."""
    try:
        parameters = inspect.signature(command, eval_str=True).parameters.values()
        described = [Described(one) for one in parameters if one.annotation is not Context]
        given = _read_words(described, words)
        values = {one.name: given[one.name] if one.name in given else one.missing() for one in described}
        return values | {one.name: Context() for one in parameters if one.annotation is Context}
    except NotUsualError:
        return None


def _read_words(described: Sequence[Described], words: Sequence[str]) -> Mapping[str, Any]:
    options = {name: (one, value) for one in described for name, value in one.names()}
    places = [one for one in described if isinstance(one.declared, Argument)]
    given: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        if not word.isprintable():
            raise NotUsualError
        if word.startswith("-") and word != "-":
            name, separator, text = word.partition("=") if word.startswith("--") else (word, "", "")
            if name not in options:
                raise NotUsualError
            one, flag = options[name]
            if one.kind is not bool:
                text = text if separator else _value(rest)
                if name == "-j" and number_of_jobs(text) is not None:  # GNU parallel's, not a journal
                    raise NotUsualError
                value = one.read(text)
            elif separator:
                raise NotUsualError
            else:
                value = flag
        elif places:
            one = places.pop(0)
            value = one.read(word)
        else:
            raise NotUsualError
        if one.name in given and not one.is_list:
            raise NotUsualError
        given[one.name] = [*given.get(one.name, []), value] if one.is_list else value
    return given


def _value(words: Iterator[str]) -> str:
    """Return the word behind an option. One that looks like an option is a mistake, perhaps."""
    word = next(words, "")
    if not word.isprintable() or word == "" or (word.startswith("-") and word != "-"):
        raise NotUsualError
    return word


def answer(words: Sequence[str]) -> None:
    """Carry out the command and exit; or return, for typer to do it."""
    if not words or words[0] not in MODULES or COMPLETION in os.environ:
        return
    with mistakes_in_one_line():
        command = getattr(importlib.import_module(f"orchestrator.cli.{MODULES[words[0]]}"), words[0])
        values = read_arguments(command, words[1:])
        if values is not None:
            _carry_out(command, values)


def _carry_out(command: Callable[..., Any], values: Mapping[str, Any]) -> NoReturn:
    try:
        command(**values)
    except Exit as end:
        sys.exit(end.code)
    sys.exit(0)
