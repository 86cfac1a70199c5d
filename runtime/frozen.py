"""Freeze values: copies that neither publisher nor subscriber can change, at any depth. A leaf.

Theory. An event has many readers, some of them later, and its publisher may change its dict afterwards. So an event
copies its data once, where it is made, into a FrozenDict; all that happens after shares that. The copies are subclasses
of dict and list, because readers compare, index and encode them as such.

    copied             dict, list, tuple, set, deque, array and their kind, at any depth; bytearray becomes bytes
    projected          dataclasses, pydantic models, attrs classes and msgspec structs become a FrozenDict of their
                       fields, numpy arrays and scalars lists and numbers
    kept               numbers, text, bytes, dates, Decimal, UUID, members of enums: they cannot change
    described          everything else becomes the text of its `repr`

Rejected: MappingProxyType (a view of what can still change, and no encoder knows it); copy.deepcopy (ten times
slower, fails on a lock, and what it returns can be changed by every subscriber).
"""

from __future__ import annotations

import array
import datetime as dt
import decimal
import enum
import os
import sys
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NoReturn

MAX_DEPTH = 200
"""Containers within containers that are copied; what is deeper is described."""

LARGEST_ARRAY = 10_000
"""Elements of a numpy array that are copied; a larger one is described."""

_DESCRIPTION_LIMIT = 1_000

Convert = Callable[[Any, tuple[int, ...]], Any]
"""Takes a value and the ids of the containers that it is in."""

_KEPT = frozenset(
    {str, int, float, bool, type(None), bytes, decimal.Decimal, dt.date, dt.datetime, dt.time,
     dt.timedelta, uuid.UUID}
)  # fmt: skip


def _refuse(*_: object, **__: object) -> NoReturn:
    raise TypeError("an event cannot be changed once it was made: copy its data, for example by dict(event.data)")


class FrozenDict(dict[Any, Any]):
    """A dict that cannot be changed. Copying, pickling or `dict(…)` gives a plain one."""

    __slots__ = ()

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __reduce_ex__(self, _protocol: object) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[Any, Any]:
        return {key: thaw(value) for key, value in self.items()}


class FrozenList(list[Any]):
    """A list that cannot be changed. Copying, pickling or `list(…)` gives a plain one."""

    __slots__ = ()

    __setitem__ = __delitem__ = append = clear = extend = insert = pop = remove = _refuse
    reverse = sort = __iadd__ = __imul__ = _refuse

    def __reduce_ex__(self, _protocol: object) -> tuple[Any, ...]:
        return list, (list(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [thaw(value) for value in self]


_FIXED = _KEPT | {FrozenDict, FrozenList}
"""What is kept as a value: a part of the data that was frozen before, too."""


def freeze_dict(data: Any) -> FrozenDict:
    """Return a frozen copy of a mapping. What is no mapping becomes one of the key `value`. Never raises."""
    if type(data) is dict and _KEPT.issuperset(map(type, data)) and _FIXED.issuperset(map(type, data.values())):
        return FrozenDict(data)  # as nearly all are
    frozen = freeze(data)
    return frozen if type(frozen) is FrozenDict else FrozenDict(value=frozen)


def freeze(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Return what stands for `value` and cannot change; see the module. Never raises.

    `above`: the ids of the containers that it is in.
    """
    kind = type(value)
    if kind in _KEPT:
        return value
    if id(value) in above:
        return f"<{kind.__name__}, which contains itself>"
    if len(above) > MAX_DEPTH:
        return f"<{kind.__name__}, nested more than {MAX_DEPTH} deep>"
    try:
        convert = _CONVERTERS.get(kind) or _converter_of(value)
        return convert(value, (*above, id(value)))
    except Exception:  # noqa: BLE001 - code of a stranger's class, or something changed while it was copied
        return _describe(value, above)


def thaw(value: Any) -> Any:
    """Return a copy of a frozen value in plain dicts and lists, which may be changed."""
    if isinstance(value, FrozenDict | FrozenList):
        return value.__deepcopy__({})
    return value


def _freeze_dict(value: Mapping[Any, Any], above: tuple[int, ...]) -> FrozenDict:
    frozen = FrozenDict(value)
    if not _KEPT.issuperset(map(type, frozen.values())):
        for key, item in frozen.items():
            if type(item) not in _KEPT:
                dict.__setitem__(frozen, key, freeze(item, above))
    return frozen if _KEPT.issuperset(map(type, frozen)) else _freeze_keys(frozen, above)


def _freeze_keys(frozen: FrozenDict, above: tuple[int, ...]) -> FrozenDict:
    return FrozenDict({_freeze_hashable(key, above): item for key, item in frozen.items()})


def _freeze_hashable(value: Any, above: tuple[int, ...]) -> Any:
    """Something that was a key or a member of a set: what stands for it must be hashable too."""
    frozen = freeze(value, above)
    try:
        hash(frozen)
    except TypeError:
        return _describe(value, above)
    return frozen


def _freeze_list(value: Any, above: tuple[int, ...]) -> FrozenList:
    return FrozenList([item if type(item) in _KEPT else freeze(item, above) for item in value])


def _freeze_tuple(value: Any, above: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple([item if type(item) in _KEPT else freeze(item, above) for item in value])


def _freeze_set(value: Any, above: tuple[int, ...]) -> frozenset[Any]:
    return frozenset([_freeze_hashable(item, above) for item in value])


def _freeze_fields(names: Any) -> Convert:
    def convert(value: Any, above: tuple[int, ...]) -> FrozenDict:
        return FrozenDict({name: freeze(getattr(value, name), above) for name in names if hasattr(value, name)})

    return convert


def _freeze_model(value: Any, above: tuple[int, ...]) -> Any:
    try:
        return freeze(value.model_dump(mode="json"), above)
    except Exception:  # noqa: BLE001 - a field that pydantic cannot write
        return _freeze_dict(dict(value), above)


def _freeze_numpy(value: Any, above: tuple[int, ...]) -> Any:
    if getattr(value, "size", 0) > LARGEST_ARRAY:
        return _describe(value, above)
    plain = value.tolist()
    return _describe(value, above) if type(plain) is type(value) else freeze(plain, above)


def _describe(value: Any, _: tuple[int, ...]) -> str:
    try:
        text = str.__str__(repr(value))
        return text if len(text) <= _DESCRIPTION_LIMIT else f"{text[:_DESCRIPTION_LIMIT]}…"
    except BaseException:  # noqa: BLE001 - a stranger's __repr__
        return f"<{type(value).__name__}>"


def _keep(value: Any, _: tuple[int, ...]) -> Any:
    return value


_CONVERTERS: dict[type, Convert] = {
    dict: _freeze_dict,
    FrozenDict: _keep,
    list: _freeze_list,
    FrozenList: _keep,
    tuple: _freeze_tuple,
    set: _freeze_set,
    frozenset: _freeze_set,
    deque: _freeze_list,
    array.array: _freeze_list,
    bytearray: lambda value, _: bytes(value),
    memoryview: lambda value, _: bytes(value),
}

_BASES: tuple[tuple[Any, Convert], ...] = (
    (enum.Enum, _keep),
    (str, lambda value, _: str.__str__(value)),
    (bool | int, lambda value, _: int.__int__(value)),
    (float, lambda value, _: float.__float__(value)),
    (bytes | bytearray, lambda value, _: bytes(memoryview(value))),
    (os.PathLike, lambda value, above: freeze(os.fspath(value), above)),
    (Mapping, _freeze_dict),
    (tuple, _freeze_tuple),
    (AbstractSet, _freeze_set),
    (range, _describe),
    (Sequence, _freeze_list),
)
"""What subclasses become, the first that fits."""


def _converter_of(value: Any) -> Convert:
    kind = type(value)
    if kind.__module__.partition(".")[0] == "numpy" and "numpy" in sys.modules and hasattr(kind, "tolist"):
        return _freeze_numpy
    for base, convert in _BASES:
        if isinstance(value, base):
            return convert
    if isinstance(value, type):
        return _describe
    if hasattr(kind, "model_dump") and hasattr(kind, "model_fields"):
        return _freeze_model
    for attribute in ("__dataclass_fields__", "__struct_fields__", "__attrs_attrs__"):
        fields = getattr(kind, attribute, None)
        if fields is not None:
            return _freeze_fields([getattr(field, "name", field) for field in fields])
    return _describe
