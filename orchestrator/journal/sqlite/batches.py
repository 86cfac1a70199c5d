"""Decide how many rows go into one statement, and how many are read at once. Pure.

*Theory.* SQLite's `json_extract` cuts text at a NUL character, and parsing a text of many megabytes as part of a batch
wastes memory; `split_for_statements` puts such rare rows aside, so that their columns are bound one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from orchestrator.journal.sqlite.columns import to_json

CHUNK: Final = 16 << 20
"""Approximate bytes of JSON in one statement. A larger row is bound on its own."""

PAGE: Final = 4 << 20
"""Approximate characters of JSON that are read at once."""

UNLIMITED: Final = (1 << 63) - 1
"""A number of rows that no table reaches: SQLite's largest integer."""

Page = tuple[str, ...]
"""Many rows that were read at once: each column is JSON text."""

R = TypeVar("R", bound=msgspec.Struct)


class Piece(NamedTuple):
    """Part of a batch for one statement: rows from `at` on as JSON `text`, or the single row `at` if that is None."""

    at: int
    text: str | None


def split_for_statements(rows: Sequence[R], pack: Callable[[Sequence[R]], Any] = list) -> Iterator[Piece]:
    """Cut rows, in order, into statements. `pack` makes the JSON value. Raises UsageError for a lone surrogate."""
    text = to_json(pack(rows))
    if len(text) <= CHUNK and "\\u0000" not in text:  # nearly always
        yield Piece(0, text)
        return
    start, size = 0, 0
    for at, row in enumerate(rows):
        texts = [value for value in msgspec.structs.astuple(row) if isinstance(value, str)]
        length = 64 + sum(map(len, texts))
        rare = length > CHUNK or any("\0" in text for text in texts)
        if start < at and (rare or size + length > CHUNK):
            yield Piece(start, to_json(pack(rows[start:at])))
            start, size = at, 0
        size += length
        if rare:
            yield Piece(at, None)
            start, size = at + 1, 0
    if start < len(rows):
        yield Piece(start, to_json(pack(rows[start:])))


class AdaptivePageSize:
    """The number of rows to read at once, so that a page has about `PAGE` characters however large the rows are."""

    def __init__(self) -> None:
        self.limit = 256
        self.asked = 0

    def saw(self, characters: int) -> None:
        """Adapt the limit: a page of at most `asked` rows had so many characters."""
        if characters > PAGE:
            self.limit = max(1, self.asked * PAGE // characters)
        elif characters < PAGE // 4 and self.asked == self.limit:
            self.limit = min(4096, self.limit * 2)


def check_rising(seqs: Sequence[int], after: int) -> None:
    """Check that numbers rise. A page whose last number is not behind its first would be read for ever.

    Raises ValueError.
    """
    for seq in seqs:
        if seq <= after:
            raise ValueError(f"number {seq} comes after number {after}")
        after = seq
