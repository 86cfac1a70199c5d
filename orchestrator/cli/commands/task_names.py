"""Name the tasks of commands: the key is the input's own text. Pure.

So a run that is resumed finds its tasks by what they are, wherever they stand in the input now. An input that is there
twice is run twice: the second one is called `TEXT (2)`.
"""

from __future__ import annotations

import hashlib
from typing import Final

from orchestrator.cli.inputs.entries import Entry
from orchestrator.cli.inputs.naming import TaskFields
from orchestrator.core.records import NewTask
from runtime.command.words import elements, input_text

LONGEST_KEY: Final = 1000
"""Characters of an input in its key. A longer one is cut, and has a digest at its end."""


class CommandTaskNames:
    """Name one task after the other. `key_field`, `priority_field`: as for TaskFields.

    Tasks are numbered without gaps (`{#}`). It remembers a number for each input, and the keys of those that came
    twice.
    """

    def __init__(self, key_field: str | None = None, priority_field: str | None = None) -> None:
        self.key = key_field
        self._fields = TaskFields(key_field, priority_field)
        self._count = 0
        self._seen: set[int] = set()
        self._repeated: dict[str, int] = {}

    def task(self, entry: Entry, prefix: str, seq: int) -> NewTask:
        """Return the task of an input. Raises InvalidInputError for a key or a priority that is none."""
        named = self._fields.task(entry, "", seq)
        self._count += 1
        has_key = isinstance(entry.value, dict) and (self.key is not None or "key" in entry.value)
        key = named.key if has_key else self._distinct(text_key(entry.value))
        return NewTask(key, entry.data, priority=named.priority, seq=self._count)

    def _distinct(self, key: str) -> str:
        number = hash(key)
        if number not in self._seen:
            self._seen.add(number)
            return key
        count = self._repeated.get(key, 1) + 1
        self._repeated[key] = count
        return self._distinct(f"{key} ({count})")


def text_key(value: object) -> str:
    """Return the text of an input as a key. Lists of other elements have other keys, whatever spaces these have."""
    text = input_text(value)
    if isinstance(value, list) and (len(text.split(" ")) != len(value) or not all(elements(value))):
        text = input_text({"": value})[4:-1]  # as JSON
    if len(text) > LONGEST_KEY:
        text = f"{text[:LONGEST_KEY]}…{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
    return text
