"""Choose fields of outcomes: `key`, `status`, `value`, a part of the value (`value.title`, `value.0.x`), and so on."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from orchestrator import run_text
from orchestrator.cli import rendering
from orchestrator.core.records import TaskOutcome
from orchestrator.journal import Journal
from orchestrator.retries import BATCH
from runtime.errors import UsageError

NAMES: Final = (
    *("key", "seq", "status", "value", "exact", "type", "error", "detail", "attempts", "started_at", "ended_at"),
    *("slot", "incarnation", "signal", "input"),
)
"""The fields of an outcome, as rendering.outcome_object names them, and the input of its task."""

USUAL: Final = ("key", "status", "value", "error")
"""The fields of a table when none are chosen."""

_decode = msgspec.json.Decoder().decode


class Field(NamedTuple):
    """A field: the name of a column, the name of a field of an outcome, and the way to a part of its content.

    source: reads the content for the fields of an outcome, if it is none of these.
    """

    name: str
    field: str
    path: Sequence[str] = ()
    source: Callable[[Mapping[str, Any]], Any] | None = None

    def of(self, fields: Mapping[str, Any]) -> Any:
        """Return the field of an outcome, as a plain value or as JSON (Raw); None if there is no such part."""
        content = fields[self.field] if self.source is None else self.source(fields)
        if not self.path:
            return content
        if isinstance(content, msgspec.Raw):
            content = _decode(content)
        for part in self.path:
            if isinstance(content, dict):
                content = content.get(part)
            elif isinstance(content, list) and part.isdecimal() and int(part) < len(content):
                content = content[int(part)]
            else:
                return None
        return content


def usual_fields() -> list[Field]:
    """Return the fields of a table when none are chosen."""
    return [Field(name, name) for name in USUAL]


def parse_fields(text: str | None) -> list[Field] | None:
    """Return the fields of `--fields`, None if it was not given. Raises UsageError for one that does not exist."""
    if text is None:
        return None
    fields = [_parse(name.strip()) for name in text.split(",")]
    names = [field.name for field in fields]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--fields has {twice!r} twice")
    return fields


class Inputs:
    """Read the inputs of tasks, which are no part of their outcomes: of many outcomes in a row at once."""

    def __init__(self, journal: Journal, run: int) -> None:
        self._journal = journal
        self._run = run
        self._read: dict[str, Any] = {}

    def bind(self, fields: Sequence[Field]) -> list[Field]:
        """Return the fields, those of inputs with where they come from."""
        return [field._replace(source=self.of) if field.field == "input" else field for field in fields]

    def of(self, fields: Mapping[str, Any]) -> Any:
        """Return the input of the task that an outcome's fields are about."""
        if fields["key"] not in self._read:
            self._look_up([fields["key"]])
        return self._read.get(fields["key"])

    def ahead(self, outcomes: Iterator[TaskOutcome]) -> Iterator[TaskOutcome]:
        """Yield outcomes whose inputs were read already. Not for outcomes that come one by one: it waits for many."""
        while batch := list(islice(outcomes, BATCH)):
            self._look_up([outcome.key for outcome in batch])
            yield from batch

    def _look_up(self, keys: Sequence[str]) -> None:
        stored = self._journal.look_up(self._run, keys)
        self._read = {
            key: rendering.shown_bytes(found.task.input, found.task.encoding) for key, found in stored.items()
        }


def _parse(name: str) -> Field:
    field, *path = name.split(".")
    if field not in NAMES:
        close = difflib.get_close_matches(field, NAMES, 1)
        hint = (
            f"did you mean {close[0]}?" if close else f"there are {', '.join(NAMES)}; a part of a value is value.NAME"
        )
        raise UsageError(f"--fields: outcomes have no field {field!r}; {hint}")
    return Field(name, field, path)


def record_of(outcome: TaskOutcome, fields: Sequence[Field] | None) -> dict[str, Any]:
    """Return the chosen fields of an outcome by their names, all for None."""
    record = rendering.outcome_object(outcome)
    return record if fields is None else {field.name: field.of(record) for field in fields}


def cell(value: Any) -> str:
    """Return a field as the text of one cell: text as it is, nothing for null, anything else as JSON."""
    if isinstance(value, msgspec.Raw):
        value = _decode(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else run_text.text(value)
