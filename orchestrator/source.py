"""Inputs: JSON Lines, from a file or as a stream. One task a line; what is wrong is said with file and line."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from orchestrator.records import MOST_URGENT, NewTask
from runtime.codec import MAX_VALUE, too_large
from runtime.errors import UsageError

BATCH = 1000
"""Tasks that are handed in at a time, at most."""

READ = 1 << 16
"""Bytes that are read of a stream at a time, at most: what a pipe holds."""


class _Keyed(msgspec.Struct):
    """What is looked for in an input that is an object."""

    key: str | int | None = None


_any = msgspec.json.Decoder()
_keyed = msgspec.json.Decoder(_Keyed)


def open_input(path: str) -> BinaryIO:
    """An input file. Raises UsageError when it cannot be read or is empty."""
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise UsageError(f"cannot read the input {path}: {error.strerror}") from None
    try:
        if not file.peek(1):
            raise UsageError(f"the input {path} is empty: it needs one JSON value a line")
    except OSError as error:  # a directory opens, and cannot be read
        file.close()
        raise UsageError(f"cannot read the input {path}: {error.strerror}") from None
    except UsageError:
        file.close()
        raise
    return file


def parse(lines: Iterable[bytes], name: str, first: int = 1, priority_field: str | None = None) -> Iterator[NewTask]:
    """One task a line, `seq` = line number, counted from `first`; blank lines are passed over.

    An object's "key" (text, or a whole number) is the task's key, the line number any other's; its `priority_field`,
    if it has that, its priority. Raises UsageError that names the line which is not JSON.
    """
    for number, line in enumerate(lines, start=first):
        text = line.strip()
        if not text:
            continue
        key: str | int | None = None
        priority = 0
        if len(text) > MAX_VALUE:
            raise UsageError(f"{name}, line {number}: {too_large(len(text))}")
        try:
            if text[0] == 0x7B:  # an object
                value = _any.decode(text)
                key = _keyed.decode(text).key
                priority = 0 if priority_field is None else value.get(priority_field, 0)
            else:
                _any.decode(text)
        except msgspec.ValidationError as error:
            raise UsageError(f'{name}, line {number}: "key" must be text or a whole number ({error})') from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UsageError(f"{name}, line {number}: not JSON ({error}): {_shown(text)}") from None
        if type(priority) is not int or abs(priority) > MOST_URGENT:
            raise UsageError(f'{name}, line {number}: "{priority_field}" must be a whole number, not {priority!r}')
        yield NewTask(str(number) if key is None else str(key), text, priority=priority, seq=number)


def batches(tasks: Iterator[NewTask], size: int = BATCH) -> Iterator[list[NewTask]]:
    """The same tasks, many at a time."""
    while batch := list(itertools.islice(tasks, size)):
        yield batch


def batches_of_stream(
    stream: io.BufferedIOBase, name: str, priority_field: str | None = None
) -> Iterator[list[NewTask]]:
    """Tasks as their lines arrive: nobody who writes one line and waits for its task has to write a thousand.

    Raises UsageError at a line that is not JSON, behind the tasks before it.
    """
    number = 1
    for lines in _arriving(stream):
        for at in range(0, len(lines), BATCH):
            batch: list[NewTask] = []
            try:
                batch.extend(parse(lines[at : at + BATCH], name, number + at, priority_field))
            finally:  # if a line is wrong, the batch has those before it
                if batch:
                    yield batch
        number += len(lines)


def _arriving(stream: io.BufferedIOBase) -> Iterator[list[bytes]]:
    """Lines, with every read as many as have ended."""
    begun: list[bytes] = []  # of a line that has not
    size = 0
    while chunk := stream.read1(READ):
        head, newline, tail = chunk.rpartition(b"\n")
        if newline:
            yield (b"".join(begun) + head).split(b"\n")
            begun, size = [tail], len(tail)
            continue
        begun.append(chunk)
        size += len(chunk)
        if size > MAX_VALUE:  # whoever parses it says so
            yield [b"".join(begun)]
            begun, size = [], 0
    if last := b"".join(begun):
        yield [last]


def _shown(text: bytes) -> str:
    shown = text[:60].decode("utf-8", "backslashreplace")
    return shown + ("…" if len(text) > 60 else "")
