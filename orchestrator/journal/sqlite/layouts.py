"""Decode the records of rows by the names of their layout. Pure.

A record is a JSON array. The layout of new rows names the fields of a struct in their order, so that no name is looked
up; those of rows that another version wrote are read from the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from orchestrator.journal.sqlite.columns import Count, Stored

R = TypeVar("R", bound=msgspec.Struct)

_decode_layouts = msgspec.json.Decoder(dict[int, int]).decode

Layouts = Mapping[int, Sequence[str]]
"""The names of the members of a `record`, by number of layout."""

LayoutReader = Callable[[], Layouts]
"""Returns the layouts that are in the file. Is called only for rows of a layout that new rows do not have."""


class RecordDecoder(Generic[R]):
    """Decodes many `record` columns of one kind."""

    def __init__(self, layout: int, kind: type[R]) -> None:
        self._layout = layout
        self._kind = kind
        self._decode: Callable[[str], list[R]] = msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]

    def __call__(self, records: str, others: str, seqs: Sequence[int], read_layouts: LayoutReader) -> list[R]:
        """Return the rows. `others`: the layouts, by seq, of rows that have another one than new rows, as JSON."""
        layouts = _decode_layouts(others)
        if not layouts:
            return self._decode(records)
        stored = read_layouts()
        return [
            self._arrange(dict(zip(stored[layouts.get(seq, self._layout)], values, strict=False)))
            for seq, values in zip(seqs, msgspec.json.decode(records, type=list[list[Any]]), strict=True)
        ]

    def _arrange(self, members: Mapping[str, Any]) -> R:
        """Return the row of named members; one that is missing has its default value."""
        defaults = {field.name: field.default for field in msgspec.structs.fields(self._kind)}
        return msgspec.convert([members.get(name, default) for name, default in defaults.items()], self._kind)


class LayoutRow(Stored, frozen=True):
    """A row of `layouts`."""

    id: int
    position: Count
    name: str
