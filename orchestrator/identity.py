"""Identify the agents and inputs of a run, and say in one line how what is handed in differs from what is stored.

docs/resume.md says what may change between two starts of a run and what may not. Pure, but for `is_same_input`,
which decodes inputs that are no JSON: only a program may call it, in its own process and with its own inputs.
"""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec

from orchestrator.core.records import NewTask, PendingTask
from orchestrator.equality import are_equal
from runtime.agents import options_of
from runtime.errors import ResultError, UsageError
from runtime.ipc import codec
from runtime.text import single_line

SHOWN: Final = 60
"""Characters of each input in a message."""

_canonical = msgspec.json.Encoder(order="sorted").encode


class RunMismatchError(UsageError, ValueError):
    """Say that what is handed in is not what the run was begun with. Nothing was executed because of it."""


# -- inputs -----------------------------------------------------------------------------------------


def is_same_json(left: bytes, right: bytes) -> bool:
    """Compare values: spaces and the order of an object's keys do not count; 1, 1.0 and true are three values."""
    if left == right:
        return True
    with suppress(msgspec.MsgspecError, ValueError, RecursionError):
        return _canonical(codec.decode_json(left)) == _canonical(codec.decode_json(right))
    return False


def is_same_input(given: NewTask, stored: PendingTask) -> bool:
    """Compare two inputs. Executes code when one is no JSON and their bytes differ (see the module)."""
    if given.encoding == stored.encoding and given.input == stored.input:
        return True
    if given.encoding == stored.encoding == codec.JSON:
        return is_same_json(given.input, stored.input)
    try:
        return are_equal(_value(given), _value(stored))
    except Exception:  # noqa: BLE001 - a class that has gone since, or anything else: what cannot be read is not the same
        return False


def _value(task: NewTask | PendingTask) -> Any:
    return codec.decode(task.input, task.encoding)  # noqa: TID251 - in the program's process, its own input


# -- agents -----------------------------------------------------------------------------------------


def identify_agent(agent: Any) -> str:
    """Return the name that an agent keeps from one start to the next.

    The name given to `@agent`, else module and qualified name. Arguments bound by `functools.partial` are part of it,
    as JSON, or as the name of their type where they are none.
    """
    if isinstance(agent, partial):
        bound = [*map(_argument, agent.args), *(f"{key}={_argument(value)}" for key, value in agent.keywords.items())]
        return f"partial({', '.join([identify_agent(agent.func), *bound])})"
    if name := options_of(agent).name:
        return name
    named = agent if hasattr(agent, "__qualname__") else type(agent)
    return f"{named.__module__}.{named.__qualname__}"


def _argument(value: Any) -> str:
    try:
        data, encoding = codec.encode(value)
    except ResultError:
        return f"<{type(value).__qualname__}>"
    if encoding != codec.JSON:
        return f"<{type(value).__qualname__}>"
    text = data.decode()
    return text if len(text) <= 4 * SHOWN else f"{text[:SHOWN]}…sha256:{hashlib.sha256(data).hexdigest()[:16]}"


class AgentNumbers:
    """Number the agents of a run as it numbered them before. Those of one name are distinguished by their order."""

    def __init__(self, stored: Mapping[int, str]) -> None:
        self._free = dict(sorted(stored.items()))
        self._next = max(stored, default=-1) + 1

    def take(self, identity: str) -> int:
        """Return the number of one more agent."""
        number = next((number for number, free in self._free.items() if free == identity), None)
        if number is not None:
            del self._free[number]
            return number
        self._next += 1
        return self._next - 1


# -- in one line ------------------------------------------------------------------------------------


class Comparison:
    """Compare tasks with those that a run has. `place` names a task's place, `advice` says what to do.

    `may_decode`: inputs that are no JSON may be decoded, which executes code.
    """

    def __init__(
        self,
        run_id: str,
        *,
        agents: Mapping[int, str] | None = None,
        may_decode: bool = True,
        source: str = "the input",
        place: Callable[[int], str] = "task {}".format,
        advice: str = "hand in what it was begun with, or choose another run_id",
    ) -> None:
        self._run_id = run_id
        self._agents = agents or {}
        self._may_decode = may_decode
        self._source = source
        self._place = place
        self._advice = advice

    def check(self, given: NewTask, stored: PendingTask) -> None:
        """Raise RunMismatchError if this is not the task that is stored."""
        if given.key != stored.key:
            self._refuse(stored, f"it has the key {_short(repr(given.key))} now")
        if given.agent != stored.agent:
            now, then = (self._agents.get(agent, f"number {agent}") for agent in (given.agent, stored.agent))
            self._refuse(stored, f"its agent is {now} now, and was {then}")
        if not self._is_same(given, stored):
            now, then = shorten(self._text(given), self._text(stored))
            self._refuse(stored, f"its input is {now} now, and was {then}")

    def refuse_new(self, given: NewTask, seq: int, total: int) -> None:
        """Raise RunMismatchError because the run takes no more tasks."""
        raise self._error(
            f"its input is complete with {_tasks(total)}, and {self._place(seq)}"
            f" (key {_short(repr(given.key))}) is none of them"
        )

    def refuse_end(self, after: int, total: int) -> None:
        """Raise RunMismatchError because less was handed in than is stored."""
        raise self._error(f"it was begun with {_tasks(total)}, and {self._source} ends after {after}")

    def _is_same(self, given: NewTask, stored: PendingTask) -> bool:
        if self._may_decode:
            return is_same_input(given, stored)
        return given.encoding == stored.encoding == codec.JSON and is_same_json(given.input, stored.input)

    def _text(self, task: NewTask | PendingTask) -> str:
        if task.encoding == codec.JSON:
            return task.input.decode("utf-8", "backslashreplace")
        try:
            return repr(_value(task)) if self._may_decode else "no JSON"
        except Exception:  # noqa: BLE001 - the value's own code
            return f"a value of {len(task.input)} bytes that cannot be read here"

    def _refuse(self, stored: PendingTask, what: str) -> None:
        key = _short(repr(stored.key))
        raise self._error(f"{self._place(stored.seq)} (key {key}) is not the one that it was begun with: {what}")

    def _error(self, what: str) -> RunMismatchError:
        return RunMismatchError(f"run {self._run_id}: {what}; {self._advice}")


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def compare_in_order(
    comparison: Comparison, given: Iterator[NewTask], stored: Iterable[PendingTask], total: int
) -> None:
    """Compare the tasks of a file with all that a run has, `total` of them. What is behind these is left in `given`."""
    for count, task in enumerate(stored):
        new = next(given, None)
        if new is None:
            comparison.refuse_end(count, total)
        else:
            comparison.check(new, task)


def shorten(left: str, right: str) -> tuple[str, str]:
    """Shorten two texts to the place where they begin to differ."""
    length = min(len(left), len(right))
    same = bisect(range(1, length + 1), False, key=lambda end: left[:end] != right[:end])  # by halves: they may be long
    start = 0 if max(len(left), len(right)) <= SHOWN else max(0, same - SHOWN // 3)
    return _short(left, start), _short(right, start)


def _short(text: str, start: int = 0) -> str:
    end = start + SHOWN
    return ("…" if start else "") + single_line(text[start:end], SHOWN * 2) + ("…" if end < len(text) else "")
