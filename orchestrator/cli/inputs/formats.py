"""Choose how an input is read: by --input-format, else by the extension of its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import BinaryIO, Final, NamedTuple

from orchestrator.cli.inputs.delimited import read_csv, read_tsv
from orchestrator.cli.inputs.entries import Entries
from orchestrator.cli.inputs.json_array import read_json_array
from orchestrator.cli.inputs.json_lines import SPACE, read_json_lines
from orchestrator.cli.inputs.parquet import read_parquet
from orchestrator.cli.inputs.plain_text import read_lines, read_nul


class InputFormat(StrEnum):
    """How inputs are read."""

    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    LINES = "lines"
    NUL = "nul"
    PARQUET = "parquet"
    PATHS = "paths"


class Reader(NamedTuple):
    """How a format is read. `unit`: what its numbers count. `needs`: what an input of it must have."""

    read: Callable[[BinaryIO], Entries]
    unit: str
    needs: str
    has_fields: bool = True
    can_stream: bool = True


READERS: Final[Mapping[InputFormat, Reader]] = {
    InputFormat.JSONL: Reader(read_json_lines, "line", "one JSON value a line"),
    InputFormat.JSON: Reader(read_json_array, "element", "a JSON array with elements"),
    InputFormat.CSV: Reader(read_csv, "line", "a header and at least one row"),
    InputFormat.TSV: Reader(read_tsv, "line", "a header and at least one row"),
    InputFormat.LINES: Reader(read_lines, "line", "one text a line", has_fields=False),
    InputFormat.NUL: Reader(read_nul, "item", "texts that end with NUL", has_fields=False),
    InputFormat.PARQUET: Reader(read_parquet, "row", "at least one row", can_stream=False),
}
"""All formats but PATHS, which reads nothing."""

EXTENSIONS: Final[Mapping[str, InputFormat]] = {
    ".jsonl": InputFormat.JSONL,
    ".ndjson": InputFormat.JSONL,
    ".json": InputFormat.JSON,
    ".csv": InputFormat.CSV,
    ".tsv": InputFormat.TSV,
    ".tab": InputFormat.TSV,
    ".txt": InputFormat.LINES,
    ".parquet": InputFormat.PARQUET,
    ".pq": InputFormat.PARQUET,
}
"""Extensions that choose a format. Any other file, and a stream, is JSON Lines."""


def format_of_name(name: str) -> InputFormat:
    """Return the format of a file by the extension of its name."""
    return EXTENSIONS.get(os.path.splitext(name)[1].lower(), InputFormat.JSONL)


def format_of_json(head: bytes) -> InputFormat:
    """Return the format of a file that is called .json by its beginning: one array, or JSON Lines."""
    return InputFormat.JSON if head.removeprefix(b"\xef\xbb\xbf").lstrip(SPACE)[:1] == b"[" else InputFormat.JSONL
