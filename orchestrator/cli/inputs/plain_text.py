"""Read plain text: each line, or each item that ends with NUL (as `find -print0` writes), is an input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from orchestrator.cli.inputs.entries import BOM, Entries, Entry, check_size, decode_text, read_items
from runtime.ipc.codec import encode_json


def read_lines(stream: BinaryIO) -> Entries:
    """Yield an entry for each line that is not blank, without its end (LF or CR LF)."""
    return _parse(read_items(stream), ends=b"\r", blank=True)


def read_nul(stream: BinaryIO) -> Entries:
    """Yield an entry for each item that is not empty, exactly as it is."""
    return _parse(read_items(stream, b"\0"), ends=b"", blank=False)


def _parse(items: Iterable[bytes | None], *, ends: bytes, blank: bool) -> Entries:
    """Yield the entries of items. `blank`: items of white space alone are no inputs."""
    number = 0
    for item in items:
        if item is None:
            yield None
            continue
        number += 1
        data = item.removesuffix(ends)
        if number == 1:
            data = data.removeprefix(BOM)
        check_size(number, data)
        if data.strip() if blank else data:
            text = decode_text(number, data)
            yield Entry(number, text, encode_json(text))
