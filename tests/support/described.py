"""Describe an object's whole state as text, to compare two that went the same way."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec
from pydantic import BaseModel

from orchestrator.core.checked_record import CheckedRecord
from orchestrator.core.history import PAYLOAD_LIMIT
from runtime.plain_signal import PlainSignal

_CACHES = {"_due", "_due_cached"}
"""Members that are computed from others whenever they are asked for: not state."""


def describe(value: Any, seen: dict[int, tuple[int, Any]] | None = None) -> Any:
    """Return nested lists and texts that are equal for equal states.

    Payloads count by their length, texts by their beginning; `triggered_at` of a signal is the wall clock's. Two
    references to one object differ from two equal objects, but not where nothing can change: a record that was
    written and read again is another object.
    """
    seen = {} if seen is None else seen
    if value is None or isinstance(value, bool | int | float | Enum):
        return repr(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str):
        return f"{len(value)} characters: {value[:PAYLOAD_LIMIT]}"
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    if not _is_frozen(value):
        if id(value) in seen:
            return f"object {seen[id(value)][0]}"
        seen[id(value)] = len(seen), value  # kept, so that no other gets its id
    if isinstance(value, Mapping):
        return ["mapping", *([describe(key, seen), describe(item, seen)] for key, item in value.items())]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(str(describe(item, seen)) for item in value)]
    members = _members(value)
    if members is None:
        return ["sequence", *(describe(item, seen) for item in value)]
    is_model = isinstance(value, BaseModel | CheckedRecord | PlainSignal)  # a program's settings, or a run's
    name = "model" if is_model else type(value).__name__
    return [name, *([name, describe(member, seen)] for name, member in members.items())]


def _is_frozen(value: Any) -> bool:
    if isinstance(value, CheckedRecord):
        return True
    if isinstance(value, BaseModel):
        return bool(value.model_config.get("frozen"))
    return isinstance(value, msgspec.Struct) and value.__struct_config__.frozen


def _members(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, PlainSignal):
        return {name: member for name, member in value.model_dump().items() if name != "triggered_at"}
    if isinstance(value, CheckedRecord):
        return value.model_dump()
    if isinstance(value, BaseModel):
        return value.model_dump(exclude={"triggered_at"})
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    names = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    members = {name: getattr(value, name) for name in names if hasattr(value, name)} | getattr(value, "__dict__", {})
    return {name: member for name, member in members.items() if name not in _CACHES} or None
