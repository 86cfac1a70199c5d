"""Types of which agents may return values, what `the same` means, and agents that give values back."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pydantic


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Weekday(enum.IntEnum):
    MONDAY = 1


class Word(str):
    """A text that is more than a text."""

    __slots__ = ()


class Point(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Pair:
    left: Any
    right: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    item: Any


class Model(pydantic.BaseModel):
    item: Any
    when: dt.datetime = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


class Record(msgspec.Struct):
    item: Any


class Plain:
    def __init__(self, item: Any) -> None:
        self.item = item


def is_same(one: Any, other: Any) -> bool:
    """Whether type and value are equal at every depth; NaN is NaN, and 0.0 is not -0.0."""
    if type(one) is not type(other):
        return False
    for kinds, parts in _PARTS.items():
        if isinstance(one, kinds):
            return _all_same(parts(one), parts(other))
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, enum.Enum | type):
        return one is other
    return bool(one == other)


_PARTS: dict[Any, Callable[[Any], list[Any]]] = {
    complex: lambda value: [value.real, value.imag],
    decimal.Decimal: lambda value: list(map(repr, value.as_tuple())),
    dict: lambda value: [part for pair in value.items() for part in pair],
    (list, tuple, collections.deque): list,
    (set, frozenset): lambda value: sorted(map(repr, value)),
    Pair: lambda value: [value.left, value.right],
    (Slotted, Model, Record, Plain): lambda value: [value.item],
}


def _all_same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(map(is_same, one, other))


def echo(task_input: Any, state: Any) -> Any:
    """Give back what came in."""
    return task_input


def save_then_stop(task_input: Any, state: Any) -> Any:
    """Save the input as a snapshot and be interrupted; the next attempt returns what it was handed back."""
    if state.snapshot is not None:
        return [state.snapshot]
    state.save_snapshot([task_input])
    state.request_interrupt(message="once")
    state.raise_if_interrupted()
    return None
