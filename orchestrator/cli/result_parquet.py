"""Write outcomes as Parquet, with pyarrow (the extra `parquet`).

*Theory.* A column has one type, and values may be anything. So the outcomes are read twice: first to find the type that
all values of a column have, then to write them. A column of whole numbers, numbers, booleans or texts has that type;
any other has JSON as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO, Final

import msgspec

from orchestrator.cli.inputs.parquet import import_pyarrow
from orchestrator.cli.result_fields import Field, cell, record_of, usual_fields
from orchestrator.core.records import TaskOutcome
from runtime.errors import UsageError

ROWS: Final = 1000
"""Rows that are converted at once."""

_INT64: Final = range(-(1 << 63), 1 << 63)
_KINDS: Final[dict[frozenset[str], str]] = {
    frozenset({"int"}): "int64",
    frozenset({"float"}): "float64",
    frozenset({"int", "float"}): "float64",
    frozenset({"bool"}): "bool_",
}
"""The type of a column by the kinds of its values; any other is text."""

_decode = msgspec.json.Decoder().decode


def write_parquet(file: BinaryIO, read: Callable[[], Iterator[TaskOutcome]], chosen: Sequence[Field] | None) -> None:
    """Write the outcomes that each call of `read` returns. Raises UsageError without pyarrow."""
    parquet = import_pyarrow("writing Parquet")
    arrow = import_pyarrow("writing Parquet", "pyarrow")
    fields = usual_fields() if chosen is None else chosen
    kinds = _find_kinds(read(), fields)
    columns = [_KINDS.get(frozenset(kinds[field.name]), "string") for field in fields]
    schema = arrow.schema([(field.name, getattr(arrow, kind)()) for field, kind in zip(fields, columns, strict=True)])
    outcomes = read()
    try:
        with parquet.ParquetWriter(file, schema) as writer:
            while batch := list(islice(outcomes, ROWS)):
                records = [record_of(outcome, fields) for outcome in batch]
                arrays = [
                    arrow.array([_convert(record[field.name], kind) for record in records], getattr(arrow, kind)())
                    for field, kind in zip(fields, columns, strict=True)
                ]
                writer.write_batch(arrow.record_batch(arrays, schema=schema))
    except ValueError as error:  # pyarrow's own errors are among these
        raise UsageError(f"the results do not fit into Parquet, or have changed meanwhile: {error}") from None


def _find_kinds(outcomes: Iterator[TaskOutcome], fields: Sequence[Field]) -> dict[str, set[str]]:
    """Return the kinds of values that each column has, without null."""
    kinds: dict[str, set[str]] = {field.name: set() for field in fields}
    for outcome in outcomes:
        for name, value in record_of(outcome, fields).items():
            if (kind := _kind(_plain(value))) is not None:
                kinds[name].add(kind)
    return kinds


def _plain(value: Any) -> Any:
    return _decode(value) if isinstance(value, msgspec.Raw) else value


def _kind(value: Any) -> str | None:
    if value is None:
        return None
    if type(value) is int and value not in _INT64:
        return "large"
    return type(value).__name__


def _convert(value: Any, kind: str) -> Any:
    value = _plain(value)
    return cell(value) if kind == "string" and value is not None else value
