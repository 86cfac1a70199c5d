"""Environment variables that have one value for each slot: a GPU, a port, an account. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

SlotEnv = dict[str, tuple[str, ...]]
"""Values by variable; value i is that of slot i."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS: Final = "QUIESCE_"


def parse_slot_env(given: Any) -> SlotEnv:
    """Return the values of each variable. Raises ValueError, which says what is wrong.

    `given`: `NAME=V0,V1,…` (separated by semicolons where there is one, so that a value may have commas), a mapping of
    names to such values or to sequences, or a sequence of these.
    """
    if isinstance(given, str):
        name, found, values = given.partition("=")
        if not found:
            raise ValueError("give NAME=VALUE,VALUE,…: one value for each slot")
        return {_check_name(name.strip()): _split(values)}
    if isinstance(given, Mapping):
        return {_check_name(name): _values(name, values) for name, values in given.items()}
    if isinstance(given, Sequence):
        return {name: values for part in given for name, values in parse_slot_env(part).items()}
    raise ValueError(f"{type(given).__name__} is neither NAME=VALUE,… nor a table of values by name")


def format_slot_env(values: SlotEnv) -> list[str]:
    """Return texts that `parse_slot_env` reads, one for each variable."""
    return [f"{name}={(';' if _needs_semicolons(texts) else ',').join(texts)}" for name, texts in values.items()]


def find_shortage(values: SlotEnv, workers: int) -> str | None:
    """Return what is wrong if a variable has fewer values than there are slots."""
    for name, texts in values.items():
        if len(texts) < workers:
            count = f"{len(texts)} value{'s' if len(texts) != 1 else ''}"
            return f"{name} has {count} for {workers} workers: give a value for each, or --workers {len(texts)}"
    return None


def _needs_semicolons(texts: tuple[str, ...]) -> bool:
    return any("," in text for text in texts)


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of an environment variable")
    if name.startswith(_OURS):
        raise ValueError(f"{name} belongs to quiesce: choose another name")
    return name


def _values(name: object, values: Any) -> tuple[str, ...]:
    if isinstance(values, str):
        return _split(values)
    if not isinstance(values, Sequence):
        raise ValueError(f"the values of {name} are no list")  # noqa: TRY004 - as in every field of a CheckedRecord
    return tuple(_check_value(str(value)) for value in values)


def _split(values: str) -> tuple[str, ...]:
    return tuple(_check_value(value.strip()) for value in values.split(";" if ";" in values else ","))


def _check_value(value: str) -> str:
    if "\0" in value or ";" in value:
        raise ValueError(f"{value!r} cannot be a value: it has a semicolon or a NUL character")
    return value
