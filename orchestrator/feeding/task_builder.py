"""Make tasks of inputs: check what names and orders them, number them, encode them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from orchestrator.core.records import MAX_PRIORITY, NewTask
from runtime.errors import UsageError
from runtime.ipc import codec
from runtime.reasons import escape_surrogates


def _check(key: object, priority: object) -> None:
    """Raise UsageError for a key or a priority that would end an executor, or the run."""
    if key is not None:
        if not isinstance(key, str):
            raise UsageError(f"a key must be a string, not {key!r}")
        if escape_surrogates(key) != key:
            raise UsageError(f"the key {key!r} is not text in UTF-8")
    if not isinstance(priority, int) or abs(priority) > MAX_PRIORITY:
        raise UsageError(f"a priority must be an integer of at most 53 bits, not {priority!r}")


GivenTask = tuple[NewTask, Any]
"""A task, and the input that it was made of."""


class TaskBuilder:
    """Make the tasks of one run. The number of a task names it if it has no key. Any thread may call."""

    def __init__(self) -> None:
        self._next = 1
        self._lock = threading.Lock()

    def numbers(self, inputs: Iterable[object]) -> Iterator[int]:
        """Return numbers for inputs. Those of a collection are taken at once, others one by one.

        So the numbers do not depend on how far a `map` has come when something else is handed in.
        """
        taken = self._take(len(inputs)) if isinstance(inputs, Collection) else ()
        return itertools.chain(taken, iter(lambda: self._take()[0], None))

    def _take(self, count: int = 1) -> range:
        with self._lock:
            numbers = range(self._next, self._next + count)
            self._next += count
        return numbers

    def tasks(
        self, agent: int, inputs: Iterable[Any], keys: Iterable[str] | None, numbers: Iterable[int]
    ) -> Iterator[GivenTask]:
        """Yield the tasks of inputs, in order, each with its input.

        Raises UsageError for a key, ValueError if there are more or fewer keys than inputs.
        """
        pairs = zip(inputs, itertools.repeat(None)) if keys is None else zip(inputs, keys, strict=True)
        numbered = zip(pairs, numbers, strict=False)
        return ((self.task(agent, given, key, number), given) for (given, key), number in numbered)

    def task(
        self, agent: int, task_input: Any, key: str | None, number: int | None = None, priority: int = 0
    ) -> NewTask:
        """Return the task of one input: named by `key`, else by the "key" of a dict, else by its number."""
        number = self._take()[0] if number is None else number
        if key is None and isinstance(task_input, dict) and isinstance(task_input.get("key"), str):
            key = task_input["key"]
        _check(key, priority)
        data, encoding = codec.encode(task_input)
        return NewTask(str(number) if key is None else key, data, encoding, priority, agent=agent)
