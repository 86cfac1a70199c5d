"""Write outcomes as JSON Lines, CSV or a table, one after the other."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import BinaryIO, Final, Protocol

from orchestrator import run_text
from orchestrator.cli import rendering, stdout
from orchestrator.cli.result_fields import Field, cell, record_of, usual_fields
from orchestrator.core.records import TaskOutcome
from runtime.text import printable

COLUMN: Final = 12
"""Characters of a column of a table, at least."""


class ResultFormat(StrEnum):
    """How outcomes are written."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


_EXTENSIONS: Final[Mapping[str, ResultFormat]] = {
    ".csv": ResultFormat.CSV,
    ".parquet": ResultFormat.PARQUET,
    ".pq": ResultFormat.PARQUET,
    ".txt": ResultFormat.TABLE,
}


def format_of_file(path: str) -> ResultFormat:
    """Return the format of a file by its extension, JSON Lines for any other."""
    return _EXTENSIONS.get(os.path.splitext(path)[1].lower(), ResultFormat.JSONL)


class Writer(Protocol):
    """Writes outcomes in one format."""

    def begin(self) -> None:
        """Write what comes before the outcomes."""
        ...

    def write(self, outcome: TaskOutcome) -> None:
        """Write one outcome."""
        ...


def make_writer(form: ResultFormat, fields: Sequence[Field] | None, file: BinaryIO | None) -> Writer:
    """Return the writer of a format that is written line by line, to a file or to standard output.

    Writing raises OSError for a file, UsageError for standard output.
    """
    emit = stdout.write_bytes if file is None else file.write
    if form is ResultFormat.CSV:
        return _CsvWriter(emit, usual_fields() if fields is None else fields)
    if form is ResultFormat.TABLE and fields is not None:
        return _ColumnWriter(emit, fields)
    return _TableWriter(emit) if form is ResultFormat.TABLE else _JsonWriter(emit, fields)


class _JsonWriter:
    """One object a line, in UTF-8 independent of the locale."""

    def __init__(self, emit: Callable[[bytes], object], fields: Sequence[Field] | None) -> None:
        self._emit = emit
        self._fields = fields

    def begin(self) -> None:
        pass

    def write(self, outcome: TaskOutcome) -> None:
        self._emit(run_text.text(record_of(outcome, self._fields)).encode() + b"\n")


class _CsvWriter:
    """A header, and a row for each outcome (RFC 4180, but with a line feed alone at the end of a row).

    Text is written as it is, null as nothing, and anything else as JSON.
    """

    def __init__(self, emit: Callable[[bytes], object], fields: Sequence[Field]) -> None:
        self._emit = emit
        self._fields = fields
        self._text = io.StringIO(newline="")
        self._rows = csv.writer(self._text, lineterminator="\n")

    def begin(self) -> None:
        self._row([field.name for field in self._fields])

    def write(self, outcome: TaskOutcome) -> None:
        self._row([cell(value) for value in record_of(outcome, self._fields).values()])

    def _row(self, cells: Sequence[str]) -> None:
        self._rows.writerow(cells)
        self._emit(self._text.getvalue().encode("utf-8", "backslashreplace"))
        self._text.seek(0)
        self._text.truncate()


class _TableWriter:
    """A line for people: key, status, and the value or the error."""

    def __init__(self, emit: Callable[[bytes], object]) -> None:
        self._emit = emit

    def begin(self) -> None:
        pass

    def write(self, outcome: TaskOutcome) -> None:
        self._emit(_encode(rendering.outcome_line(outcome)))


class _ColumnWriter:
    """Columns for people, of the chosen fields, below their names."""

    def __init__(self, emit: Callable[[bytes], object], fields: Sequence[Field]) -> None:
        self._emit = emit
        self._fields = fields
        self._widths = [max(COLUMN, len(field.name)) for field in fields]

    def begin(self) -> None:
        self._row([field.name.upper() for field in self._fields])

    def write(self, outcome: TaskOutcome) -> None:
        self._row([printable(cell(value)) for value in record_of(outcome, self._fields).values()])

    def _row(self, cells: Sequence[str]) -> None:
        line = " ".join(f"{text:{width}}" for text, width in zip(cells, self._widths, strict=True))
        self._emit(_encode(line.rstrip()))


def _encode(line: str) -> bytes:
    return line.encode(stdout.encoding(), "backslashreplace") + b"\n"
