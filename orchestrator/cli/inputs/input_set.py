"""Make the tasks of all inputs of a command, one after the other."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

from orchestrator.cli.inputs.entries import InvalidInputError
from orchestrator.cli.inputs.formats import InputFormat
from orchestrator.cli.inputs.input_sources import STREAM, Source, find_sources
from orchestrator.cli.inputs.naming import TaskFields, TaskNames
from orchestrator.core.records import NewTask
from orchestrator.journal import DuplicateKeyError
from runtime.errors import UsageError

BATCH: Final = 1000
"""Most tasks that are added to the journal at once."""


class InputSet:
    """Hold the inputs of a command. Its tasks can be taken once.

    The `seq` of a task is its place: the line, element or row of a single source. Those of further sources follow on.
    A task without a key is named by its place, with several sources also by the name of its source.
    """

    def __init__(self, sources: Sequence[Source], fields: TaskNames = TaskFields()) -> None:
        self._sources = sources
        self._fields = fields
        self._begun: list[tuple[int, Source]] = []  # the last seq before each source that was begun
        self._last = 0

    @property
    def label(self) -> str:
        """The name of the inputs in messages."""
        return self._sources[0].label if len(self._sources) == 1 else f"{len(self._sources)} inputs"

    @property
    def is_whole(self) -> bool:
        """Whether all can be read before the run begins; not so a stream, whose end may be far."""
        return all(source.stream is None for source in self._sources)

    def tasks(self) -> Iterator[NewTask]:
        """Yield all tasks."""
        return (task for task in self.arriving() if task is not None)

    def arriving(self) -> Iterator[NewTask | None]:
        """Yield tasks, and None before a wait for more bytes of a stream.

        Raises UsageError, which names file and line, at an input that is none; and after the last one if there was
        none at all.
        """
        count = 0
        for source in self._sources:
            self._begun.append((self._last, source))
            for task in self._of(source):
                count += task is not None
                yield task
        if not count:
            raise UsageError(f"{self._sources[0].label} has no tasks: it needs {self._sources[0].needs}")

    def _of(self, source: Source) -> Iterator[NewTask | None]:
        offset, last = self._last, None
        prefix = f"{source.prefix}:" if len(self._sources) > 1 else ""
        count = 0
        try:
            for entry in source.entries():
                if entry is None:
                    yield None
                    continue
                count += 1
                self._last = offset + entry.number
                if source.paths is not None:
                    last = NewTask(source.paths[entry.number - 1], entry.data, seq=self._last)
                else:
                    last = self._fields.task(entry, prefix, self._last)
                yield last
        except InvalidInputError as error:
            raise UsageError(f"{source.label}, {source.unit} {error.number}: {error}") from None
        if count == 1 and last is not None:
            _refuse_array(source, last, offset)

    def place(self, seq: int) -> str:
        """Return the place of a task: its file, and the line, element or row there."""
        before, source = self._begun[bisect_right([before for before, _ in self._begun], seq - 1) - 1]
        return f"{source.label}, {source.unit} {seq - before}"

    def batches(self) -> Iterator[list[NewTask]]:
        """Yield tasks in batches; a batch ends where the reader would wait for more. Raises as `arriving` does."""
        batch: list[NewTask] = []
        try:
            for task in self.arriving():
                if task is not None:
                    batch.append(task)
                if batch and (task is None or len(batch) == BATCH):
                    full, batch = batch, []
                    yield full
        except UsageError:  # behind the tasks before it
            if batch:
                yield batch
            raise
        if batch:
            yield batch

    def explain(self, error: DuplicateKeyError) -> UsageError:
        """Return the error for two inputs with the same key. Names the places of both."""
        first = self.place(error.first)
        is_number = error.key in (str(error.seq), str(error.first))
        unnamed = (
            "; a task without a key is named by its number, so give every task a key, or none" if is_number else ""
        )
        return UsageError(f"{self.place(error.seq)}: duplicate key {error.key!r}, which {first} has{unnamed}")


def open_inputs(names: Sequence[str], chosen: InputFormat | None, fields: TaskNames) -> InputSet:
    """Find the inputs of a command. Raises UsageError, before anything is started, for what cannot be read."""
    if list(names).count(STREAM) > 1:
        raise UsageError("--input - is given twice: standard input can be read once")
    if any(not name.strip() for name in names):
        raise UsageError("an --input is blank: give the name of a file, or - for standard input")
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--input {twice} is given twice: its tasks would have the same keys")
    if fields.key is not None and not fields.key.strip():
        raise UsageError("--key-field is blank: give the name of a field")
    sources = list(find_sources(names, chosen))
    if len(sources) == 1:
        sources[0].refuse_empty()
    for source in sources:
        if fields.key is not None and (source.paths is not None or not source.reader.has_fields):
            raise UsageError(f"--key-field {fields.key}: the inputs of {source.label} are texts, which have no fields")
    return InputSet(sources, fields)


def batched(tasks: Iterator[NewTask], size: int = BATCH) -> Iterator[list[NewTask]]:
    """Yield the tasks in lists of at most `size`, like `itertools.batched` of Python 3.12."""
    while batch := list(itertools.islice(tasks, size)):
        yield batch


def _refuse_array(source: Source, task: NewTask, offset: int) -> None:
    """Raise UsageError if the only input of a file of JSON Lines is an array: the user may mean its elements."""
    is_guess = source.stream is None and source.format is InputFormat.JSONL and not source.chosen
    if is_guess and task.input.startswith(b"["):
        raise UsageError(
            f"{source.label}, line {task.seq - offset}: one JSON array is all of the input. If its elements are the"
            " tasks: --input-format json; if it is one task: --input-format jsonl"
        )
