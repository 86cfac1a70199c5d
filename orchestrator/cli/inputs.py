"""Inputs: JSON Lines (https://jsonlines.org), from a file or as a stream. One task a line, UTF-8.

What is wrong is said with file and line. A byte order mark at the beginning of a line is passed over (files that are
joined have it anywhere); a name that comes twice in one object has its last value, as in Python's own parser.
"""

from __future__ import annotations

import io
import itertools
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from orchestrator.core.records import MAX_PRIORITY, NewTask
from runtime.errors import UsageError
from runtime.ipc.codec import MAX_VALUE, too_large

BATCH = 1000
"""Tasks that are handed in at a time, at most."""

_SPACE = b" \t\r\n"
"""White space in JSON (RFC 8259), and nothing else."""

_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)

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


def parse_lines(
    lines: Iterable[bytes], name: str, first: int = 1, priority_field: str | None = None
) -> Iterator[NewTask]:
    """One task a line, `seq` = line number, counted from `first`; blank lines are passed over.

    An object's "key" (text, or a whole number) is the task's key, the line number any other's; its `priority_field`,
    if it has that, its priority. Raises UsageError that names the line which is not JSON.
    """
    for number, line in enumerate(lines, start=first):
        text = line.removeprefix(_BOM).strip(_SPACE)
        if not text:
            continue
        if len(text) > MAX_VALUE:
            raise UsageError(f"{name}, line {number}: {too_large(len(text))}")
        try:
            value = _any.decode(text)
            is_object = text[0] == 0x7B
            key = _keyed.decode(text).key if is_object else None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UsageError(f"{name}, line {number}: {_complaint(text, error)}") from None
        priority = value.get(priority_field, 0) if is_object and priority_field is not None else 0
        if type(priority) is not int or abs(priority) > MAX_PRIORITY:
            raise UsageError(f'{name}, line {number}: "{priority_field}" must be a whole number, not {priority!r}')
        yield NewTask(str(number) if key is None else str(key), text, priority=priority, seq=number)


def _complaint(text: bytes, error: Exception) -> str:
    """What is wrong with a line."""
    for mark, encoding in _OTHER_BOMS:
        if text.startswith(mark):
            return f"{encoding} text; JSON Lines are UTF-8: convert it first (iconv -f {encoding} -t UTF-8)"
    why = str(error)
    if isinstance(error, msgspec.ValidationError):
        if why.endswith("`$.key`"):
            return f'"key" must be text or a whole number ({why})'
        return f"JSON with a {why[0].lower()}{why[1:]}: {_excerpt(text)}"
    if "truncated" in why and b"\\u" in text:
        why = "it ends too early, or has half of a surrogate pair"
    if text in (b"[", b"{"):
        why = "a document of several lines? Write each value on one line, as jq -c does"
    return f"not JSON ({why}): {_excerpt(text)}"


def parse_file(lines: Iterable[bytes], name: str, priority_field: str | None = None) -> Iterator[NewTask]:
    """As `parse`, for a whole file. Raises UsageError behind the last task if there was none, or one JSON array.

    The array may be a JSON document whose elements are meant.
    """
    count = 0
    for task in parse_lines(lines, name, priority_field=priority_field):
        count += 1
        yield task
    if not count:
        raise UsageError(f"the input {name} has no tasks: it needs one JSON value a line")
    if count == 1 and task.input.startswith(b"["):
        raise UsageError(
            f"{name}, line {task.seq}: one JSON array is all of the input. If its elements are the tasks: "
            f"jq -c '.[]' {shlex.quote(name)}; if it is one task: --input - < {shlex.quote(name)}"
        )


def batched(tasks: Iterator[NewTask], size: int = BATCH) -> Iterator[list[NewTask]]:
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
    for lines in _read_lines(stream):
        for at in range(0, len(lines), BATCH):
            batch: list[NewTask] = []
            try:
                batch.extend(parse_lines(lines[at : at + BATCH], name, number + at, priority_field))
            finally:  # if a line is wrong, the batch has those before it
                if batch:
                    yield batch
        number += len(lines)


def _read_lines(stream: io.BufferedIOBase) -> Iterator[list[bytes]]:
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


def _excerpt(text: bytes) -> str:
    shown = text[:60].decode("utf-8", "backslashreplace")
    return shown + ("…" if len(text) > 60 else "")
