"""Make tasks of inputs: their keys and their priorities. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from orchestrator.cli.inputs.entries import Entry, InvalidInputError
from orchestrator.core.records import MAX_PRIORITY, NewTask

DEFAULT_FIELD = "key"
"""The field of an object that names its task, if it has one and --key-field gives no other."""


class TaskNames(Protocol):
    """What makes tasks of inputs. `key`: the field that names them, if one was chosen."""

    @property
    def key(self) -> str | None:
        """Return the name of the field, None if any input will do."""
        ...

    def task(self, entry: Entry, prefix: str, seq: int) -> NewTask:
        """Return the task of an input. Raises InvalidInputError for a key or a priority that is none."""
        ...


class TaskFields(NamedTuple):
    """The fields of an input that name and order its task.

    key: every input must have it, and no two the same value. None: an object may have a `key`.
    """

    key: str | None = None
    priority: str | None = None

    def task(self, entry: Entry, prefix: str, seq: int) -> NewTask:
        """Return the task of an input. Without a key of its own it is named by its place, after `prefix`.

        Raises InvalidInputError for a key or a priority that is none.
        """
        key = self._key(entry)
        return NewTask(
            f"{prefix}{entry.number}" if key is None else key, entry.data, priority=self._priority(entry), seq=seq
        )

    def _key(self, entry: Entry) -> str | None:
        if not isinstance(entry.value, dict):
            if self.key is not None:
                raise InvalidInputError(entry.number, f'no object, so it has no field "{self.key}" for its key')
            return None
        name = self.key or DEFAULT_FIELD
        key = entry.value.get(name)
        if self.key is not None and key in (None, ""):
            known = ", ".join(list(map(str, entry.value))[:8])
            have = "is empty" if name in entry.value else f"is missing; there are {known or 'no fields'}"
            raise InvalidInputError(entry.number, f'the field "{name}" for the key {have}')
        if key is not None and type(key) not in (str, int):
            raise InvalidInputError(entry.number, f'"{name}" must be text or a whole number, not {_short(key)}')
        return None if key is None else str(key)

    def _priority(self, entry: Entry) -> int:
        if self.priority is None or not isinstance(entry.value, dict):
            return 0
        priority = entry.value.get(self.priority, 0)
        if type(priority) is str and priority.removeprefix("-").isdecimal():  # of a table, where all is text
            priority = int(priority)
        if type(priority) is not int or abs(priority) > MAX_PRIORITY:
            raise InvalidInputError(entry.number, f'"{self.priority}" must be a whole number, not {_short(priority)}')
        return priority


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
