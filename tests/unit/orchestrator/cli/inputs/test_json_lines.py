"""One line, one task: what a line of input may be, and what is said when it is not."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from orchestrator.cli.inputs.formats import InputFormat
from orchestrator.cli.inputs.input_set import BATCH, InputSet, batched
from orchestrator.cli.inputs.input_sources import Source
from orchestrator.cli.inputs.naming import TaskFields
from orchestrator.core.records import NewTask
from runtime.errors import UsageError
from runtime.ipc.codec import MAX_VALUE


def stream_of(stream: io.BufferedIOBase, priority_field: str | None = None) -> InputSet:
    """The inputs of a stream of JSON Lines."""
    source = Source("f", "f", InputFormat.JSONL, cast("BinaryIO", stream))
    return InputSet([source], TaskFields(priority=priority_field))


def tasks_of(lines: Iterable[bytes], priority_field: str | None = None) -> list[NewTask]:
    return list(stream_of(io.BytesIO(b"".join(lines)), priority_field).tasks())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1\n2\n{oops\n", ["f, line 3", "not JSON", "{oops"]),
        (b'1\n"\xff\xfe"\n', ["f, line 2", "not JSON"]),
        (b'{"key": "\xff"}\n', ["f, line 1", "not JSON"]),
        (b"\xff\xfe1\n", ["f, line 1", "UTF-16"]),
        (b'{"key": [1]}\n', ["f, line 1", '"key"']),
        (b'{"key": 1.5}\n', ["f, line 1", '"key"']),
        (b'{"key": true}\n', ["f, line 1", '"key"']),
        (b'{"key": {"a": 1}}\n', ["f, line 1", '"key"']),
        (b"NaN\n", ["f, line 1", "not JSON"]),
        (b"1 2\n", ["f, line 1", "not JSON"]),
        (b"{} {}\n", ["f, line 1", "not JSON"]),
        (b'\n\n{"a": 1', ["f, line 3", "not JSON"]),
        (b"[" * 100_000 + b"\n", ["f, line 1", "not JSON"]),
        (b'{"a":' * 100_000 + b"\n", ["f, line 1", "not JSON"]),
        (b'"' + b"x" * 100_000 + b"\n", ["f, line 1", "not JSON", "…"]),
        (b'1\n{"a":1e999}\n', ["f, line 2", "JSON with a number out of range", '{"a":1e999}']),
        (b"1e999\n", ["f, line 1", "number out of range"]),
        (b'{"key": 1e999}\n', ["f, line 1", "number out of range"]),
        (b"1" * 5000 + b"\n", ["f, line 1", "integer value out of range"]),
        (b"Infinity\n", ["f, line 1", "not JSON"]),
        (b'"\\ud800"\n', ["f, line 1", "not JSON", "surrogate"]),
        (b'"a\0b"\n', ["f, line 1", "not JSON"]),
        (b"1\0\n", ["f, line 1", "not JSON"]),
        (b"\x0c1\n", ["f, line 1", "not JSON"]),
        (b"1\r2\r", ["f, line 1", "not JSON"]),
        (b"{} trailing\n", ["f, line 1", "not JSON"]),
        (b"1,\n", ["f, line 1", "not JSON"]),
        (b'[\n{"a": 1},\n', ["f, line 1", "several lines"]),
        (b'{\n"a": 1\n}\n', ["f, line 1", "several lines"]),
        ('{"a": 1}\n'.encode("utf-16"), ["f, line 1", "UTF-16", "iconv"]),
        ('{"a": 1}\n'.encode("utf-32"), ["f, line 1", "UTF-32", "iconv"]),
        (b"\xef\xbb\xbf\xef\xbb\xbf1\n", ["f, line 1", "not JSON"]),
        (b"1 \xef\xbb\xbf\n", ["f, line 1", "not JSON"]),
    ],
)
def test_a_line_that_is_no_task_is_named(content: bytes, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        tasks_of([content])
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    for word in words:
        assert word in message


def test_keys_and_places() -> None:
    """An object's key is its key, everything else is named by its line; blank lines count, but are no tasks."""
    lines = [b"1\n", b"\n", b'{"key": "a"}\r\n', b'{"key": 7}\n', b'{"key": null}\n', b" [1] \n", b'{"key": ""}\n']
    tasks = tasks_of(lines)
    assert [(task.key, task.seq) for task in tasks] == [("1", 1), ("a", 3), ("7", 4), ("5", 5), ("6", 6), ("", 7)]
    assert tasks[1].input == b'{"key": "a"}'


def test_what_is_unusual_and_right() -> None:
    lines = [
        b'\xef\xbb\xbf{"key": "bom"}\r\n', b"\xef\xbb\xbf\n", b"\xef\xbb\xbf7\n", b'{"key": "a", "key": "b"}\n',
        b"1" * 400 + b"\n", b'"\\u0000 \xe2\x80\xa8"\n', b'{"key": 123456789012345678901234567890}\n',
        b'"\\ud83d\\ude00"',
    ]  # fmt: skip
    tasks = tasks_of(lines)
    keys = ["bom", "3", "b", "5", "6", "123456789012345678901234567890", "8"]
    assert [task.key for task in tasks] == keys
    assert tasks[0].input == b'{"key": "bom"}'


def test_a_file_that_is_one_json_array_is_no_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "f"
    source = Source(str(file), "f", InputFormat.JSONL)
    for content in (b'[{"a": 1}, {"a": 2}]\n', b"[]", b"\n [1, 2]\n\n"):
        file.write_bytes(content)
        words = r"f, line \d: one JSON array .*--input-format json; if it is one task: --input-format jsonl"
        with pytest.raises(UsageError, match=words):
            list(InputSet([source]).tasks())
        assert len(tasks_of([content])) == 1  # of a stream it is one task
        assert len(list(InputSet([replace(source, chosen=True)]).tasks())) == 1
    assert len(tasks_of([b"[1]\n[2]\n"])) == 2
    with pytest.raises(UsageError, match="f has no tasks: it needs one JSON value a line"):
        tasks_of([b"\n\n"])


def test_batches_lose_nothing() -> None:
    tasks = tasks_of([b"%d\n" % number for number in range(25)])
    assert [len(batch) for batch in batched(iter(tasks), 10)] == [10, 10, 5]


class Pieces(io.BufferedIOBase):
    """A stream that gives out these pieces, one a read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def read1(self, size: int = -1, /) -> bytes:
        return next(self._pieces, b"")


def test_a_streams_tasks_come_with_the_read_that_ends_their_lines() -> None:
    pieces = [b"1\n2\n", b'"thr', b"ee", b'"\n\n{"key": "four"}\n5', b"5"]
    found = [[(task.seq, task.key, task.input) for task in batch] for batch in stream_of(Pieces(pieces)).batches()]
    assert found == [
        [(1, "1", b"1"), (2, "2", b"2")],
        [(3, "3", b'"three"'), (5, "four", b'{"key": "four"}')],
        [(6, "6", b"55")],
    ]


def test_a_streams_batches_have_a_bound_and_its_lines_their_numbers() -> None:
    found = list(stream_of(Pieces([b"0\n" * (2 * BATCH + 1)])).batches())
    assert [len(batch) for batch in found] == [BATCH, BATCH, 1]
    assert found[-1][0].seq == 2 * BATCH + 1


def test_a_line_of_a_stream_that_is_no_task_comes_behind_those_before_it() -> None:
    reading = stream_of(Pieces([b"1\n2\n", b"3\noops\n"])).batches()
    assert [task.seq for batch in (next(reading), next(reading)) for task in batch] == [1, 2, 3]
    with pytest.raises(UsageError, match="f, line 4"):
        next(reading)


def test_a_line_of_a_stream_that_never_ends_is_refused_and_not_kept() -> None:
    piece = b"0" * (MAX_VALUE // 4)
    with pytest.raises(UsageError, match=r"f, line 2: .* MiB"):
        list(stream_of(Pieces([b"1\n", *[piece] * 1000])).batches())


def test_a_field_may_hold_the_priority() -> None:
    lines = [b'{"p": 3}\n', b'{"p": -1}\n', b'{"q": 9}\n', b"7\n", b'{"p": 0, "key": "x"}']
    assert [task.priority for task in tasks_of(lines, "p")] == [3, -1, 0, 0, 0]
    assert [task.priority for task in tasks_of(lines)] == [0] * 5


@pytest.mark.parametrize("bad", ['"high"', "1.5", "true", "null", "99999999999999999999"])
def test_a_priority_that_is_none_is_refused_with_its_line(bad: str) -> None:
    with pytest.raises(UsageError, match=r'f, line 2: "p" must be a whole number'):
        tasks_of([b"{}\n", b'{"p": %s}' % bad.encode()], "p")
