"""Read inputs as JSON Lines (https://jsonlines.org), from a file or a stream: one task a line, UTF-8.

An error names the file and the line. A byte order mark at the beginning of any line is ignored, because concatenated
files have it anywhere. If an object has a name twice, the last value counts, as in Python's own parser.
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
"""Most tasks that are added to the journal at once."""

_SPACE = b" \t\r\n"
"""White space of JSON (RFC 8259)."""

_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)

READ = 1 << 16
"""Most bytes that are read from a stream at once: the capacity of a pipe."""


class _Keyed(msgspec.Struct):
    """The fields of an input object that are read: its key."""

    key: str | int | None = None


_any = msgspec.json.Decoder()
_keyed = msgspec.json.Decoder(_Keyed)


def open_input(path: str) -> BinaryIO:
    """Open an input file. Raises UsageError when it cannot be read or is empty."""
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
    """Yield a task for each line that is not blank. `seq` is the line number, counted from `first`.

    The key of a task is the "key" of an object (text or a whole number), or else the line number. Its priority is the
    field `priority_field` of an object that has it. Raises UsageError, which names the line, for what is not JSON.
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
            raise UsageError(f"{name}, line {number}: {_explain(text, error)}") from None
        priority = value.get(priority_field, 0) if is_object and priority_field is not None else 0
        if type(priority) is not int or abs(priority) > MAX_PRIORITY:
            raise UsageError(f'{name}, line {number}: "{priority_field}" must be a whole number, not {priority!r}')
        yield NewTask(str(number) if key is None else str(key), text, priority=priority, seq=number)


def _explain(text: bytes, error: Exception) -> str:
    """Return what is wrong with a line, and what to do if that is known."""
    for mark, encoding in _OTHER_BOMS:
        if text.startswith(mark):
            return f"{encoding} text; JSON Lines are UTF-8: convert it first (iconv -f {encoding} -t UTF-8)"
    reason = str(error)
    if isinstance(error, msgspec.ValidationError):
        if reason.endswith("`$.key`"):
            return f'"key" must be text or a whole number ({reason})'
        return f"JSON with a {reason[0].lower()}{reason[1:]}: {_excerpt(text)}"
    if "truncated" in reason and b"\\u" in text:
        reason = "it ends too early, or has half of a surrogate pair"
    if text in (b"[", b"{"):
        reason = "a document of several lines? Write each value on one line, as jq -c does"
    return f"not JSON ({reason}): {_excerpt(text)}"


def parse_file(lines: Iterable[bytes], name: str, priority_field: str | None = None) -> Iterator[NewTask]:
    """Yield the tasks of a whole file as `parse_lines` does.

    Raises UsageError after the last task if there was none, or if the only one is a JSON array: the user may mean its
    elements.
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
    """Yield the tasks in lists of at most `size`, like `itertools.batched` of Python 3.12."""
    while batch := list(itertools.islice(tasks, size)):
        yield batch


def batches_of_stream(
    stream: io.BufferedIOBase, name: str, priority_field: str | None = None
) -> Iterator[list[NewTask]]:
    """Yield tasks as soon as their lines arrive: a program may write one line and wait for the outcome of its task.

    Raises UsageError at a line that is not JSON, after the tasks before it.
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
    """Yield the lines that are complete after each read."""
    begun: list[bytes] = []  # pieces of the last line, which is not complete
    size = 0
    while chunk := stream.read1(READ):
        head, newline, tail = chunk.rpartition(b"\n")
        if newline:
            yield (b"".join(begun) + head).split(b"\n")
            begun, size = [tail], len(tail)
            continue
        begun.append(chunk)
        size += len(chunk)
        if size > MAX_VALUE:  # too long: `parse_lines` raises
            yield [b"".join(begun)]
            begun, size = [], 0
    if last := b"".join(begun):
        yield [last]


def _excerpt(text: bytes) -> str:
    shown = text[:60].decode("utf-8", "backslashreplace")
    return shown + ("…" if len(text) > 60 else "")
