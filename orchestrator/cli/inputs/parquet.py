"""Read Parquet, with pyarrow (the extra `parquet`): each row is an input, an object under the names of the columns.

Values are what JSON carries of them: times in ISO 8601, decimals as text, bytes in base64, NaN as null.
"""

from __future__ import annotations

import importlib
from typing import Any, BinaryIO, Final

from orchestrator.cli.inputs.entries import Entries, Entry, InvalidInputError, check_size
from runtime.errors import UsageError
from runtime.ipc.codec import decode_json, encode_json

ROWS: Final = 1000
"""Rows that are converted at once."""


def import_pyarrow(purpose: str, module: str = "pyarrow.parquet") -> Any:
    """Return a module of pyarrow. Raises UsageError, which says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(f"{purpose} needs pyarrow: pip install 'quiesce[parquet]'") from None


def read_parquet(stream: BinaryIO) -> Entries:
    """Yield an entry for each row of a file that can be read at any place, not of a stream."""
    parquet = import_pyarrow("reading Parquet")
    number = 0
    try:
        with parquet.ParquetFile(stream) as file:
            for batch in file.iter_batches(batch_size=ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield _entry(number, row)
    except (OSError, ValueError) as error:  # pyarrow's own errors are among these
        raise InvalidInputError(number + 1, f"not Parquet that pyarrow can read: {error}") from None


def _entry(number: int, row: dict[str, Any]) -> Entry:
    try:
        data = encode_json(row)
    except (TypeError, NotImplementedError, ValueError) as error:
        raise InvalidInputError(number, f"a value that JSON does not carry: {error}") from None
    check_size(number, data)
    return Entry(number, decode_json(data), data)
