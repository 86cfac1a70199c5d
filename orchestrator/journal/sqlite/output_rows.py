"""Convert chunks of output to rows and back. Pure."""

from __future__ import annotations

import msgspec

from orchestrator.core.output import KeptLine, OutputChunk
from orchestrator.journal.sqlite.batches import Page
from orchestrator.journal.sqlite.columns import Count, Number, Time, escape_surrogates, to_json

_decode_chunks = msgspec.json.Decoder(list[tuple[Number, Count, Count, Count]]).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode
_decode_lines = msgspec.json.Decoder(list[KeptLine]).decode


class OutputRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row of `output`, when it is new. On its way to SQLite its columns are in the order of PUT_OUTPUT."""

    task: int
    slot: int
    first: int
    size: int
    lines: str


def output_row(chunk: OutputChunk) -> OutputRow:
    """Return the row of a chunk."""
    lines = [
        KeptLine(line.at, line.stream, escape_surrogates(line.text), line.severity, escape_surrogates(line.logger))
        for line in chunk.lines
    ]
    return OutputRow(chunk.task, chunk.slot, chunk.first, chunk.size, to_json(lines))


def chunks(page: Page) -> list[OutputChunk]:
    """Decode a page of output."""
    columns, texts = page
    return [
        OutputChunk(seq=number, task=task, slot=slot, first=first, lines=_lines(text))
        for (number, task, slot, first), text in zip(_decode_chunks(columns), _decode_texts(texts), strict=True)
    ]


def _lines(text: str) -> list[KeptLine]:
    """Decode the column `lines`. Raises ValueError for a time that no calendar has."""
    lines = _decode_lines(text)
    msgspec.convert([line.at for line in lines], list[Time])
    return lines
