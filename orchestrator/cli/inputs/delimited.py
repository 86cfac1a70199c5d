"""Read CSV and TSV with a header (RFC 4180): each row is an input, an object of texts under the names of the header.

A quoted field may have line breaks. Values stay text: whether `007` is a number is the agent's decision.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from orchestrator.cli.inputs.entries import BOM, Entries, Entry, InvalidInputError, check_size, decode_text, read_items
from runtime.ipc.codec import encode_json

MAX_FIELD: Final = 1 << 24
"""Characters of one field, at most. A quote that is never closed makes a field of the rest of the file."""


def read_csv(stream: BinaryIO) -> Entries:
    """Yield an entry for each row of a file with commas. Its number is the line where the row begins."""
    return parse_delimited(read_items(stream), ",")


def read_tsv(stream: BinaryIO) -> Entries:
    """Yield an entry for each row of a file with tabs. Its number is the line where the row begins."""
    return parse_delimited(read_items(stream), "\t")


def parse_delimited(lines: Iterable[bytes | None], delimiter: str) -> Entries:
    """Yield the entries of lines. Raises InvalidInputError for a row that has not the fields of the header."""
    names: list[str] | None = None
    for number, row in _rows(lines, delimiter):
        if not row:
            yield None
        elif names is None:
            names = row
            _check_names(number, names)
        elif len(row) != len(names):
            raise InvalidInputError(number, f"this row has {_fields(len(row))}, and the header has {len(names)}")
        else:
            value = dict(zip(names, row, strict=True))
            data = encode_json(value)
            check_size(number, data)
            yield Entry(number, value, data)


def _rows(lines: Iterable[bytes | None], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with the line where they begin. A row is empty for a blank line, and before a wait for more lines."""
    csv.field_size_limit(MAX_FIELD)  # of the process, which reads nothing else with csv
    text = _Lines(lines)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    while True:
        first = text.number + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise InvalidInputError(first, _explain(error, first, text.number)) from None
        if row is None:
            return
        yield first, row


class _Lines:
    """Iterate over lines as text with their ends; an empty text, which csv takes for nothing, before a wait."""

    def __init__(self, lines: Iterable[bytes | None]) -> None:
        self._lines = iter(lines)
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if line is None:
            return ""
        self.number += 1
        return decode_text(self.number, line.removeprefix(BOM) if self.number == 1 else line) + "\n"


def _check_names(number: int, names: list[str]) -> None:
    for name, more in itertools.groupby(sorted(names)):
        if len(list(more)) > 1:
            raise InvalidInputError(number, f"the header has the name {name!r} twice")


def _explain(error: csv.Error, first: int, last: int) -> str:
    reason = str(error)
    if "unexpected end of data" in reason:
        return "a quote of this row is not closed before the end of the file"
    if "field larger" in reason:
        return f"a field has more than {MAX_FIELD} characters: is a quote not closed?"
    if "new-line character" in reason:
        reason = "a carriage return inside of a field: put the field into quotes"
    return f"{reason} (line {last})" if last > first else reason


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"
