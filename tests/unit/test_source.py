"""One line, one task: what a line of input may be, and what is said when it is not."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import pytest

from orchestrator.source import BATCH, batches, batches_of_stream, open_input, parse
from runtime.codec import MAX_VALUE
from runtime.errors import UsageError


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1\n2\n{oops\n", ["f, line 3", "not JSON", "{oops"]),
        (b'1\n"\xff\xfe"\n', ["f, line 2", "not JSON"]),
        (b'{"key": "\xff"}\n', ["f, line 1", "not JSON"]),
        (b"\xff\xfe1\n", ["f, line 1", "not JSON"]),
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
    ],
    ids=range(15),
)
def test_a_line_that_is_no_task_is_named(content: bytes, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        list(parse(content.splitlines(keepends=True), "f"))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    for word in words:
        assert word in message


def test_keys_and_places() -> None:
    """An object's key is its key, everything else is named by its line; blank lines count, but are no tasks."""
    lines = [b"1\n", b"\n", b'{"key": "a"}\r\n', b'{"key": 7}\n', b'{"key": null}\n', b" [1] \n", b'{"key": ""}\n']
    tasks = list(parse(lines, "f"))
    assert [(task.key, task.seq) for task in tasks] == [("1", 1), ("a", 3), ("7", 4), ("5", 5), ("6", 6), ("", 7)]
    assert tasks[1].input == b'{"key": "a"}'


def test_batches_lose_nothing() -> None:
    tasks = parse([b"%d\n" % number for number in range(25)], "f")
    assert [len(batch) for batch in batches(tasks, 10)] == [10, 10, 5]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, word in (("none", "No such file"), (".", "Is a directory"), ("empty", "is empty")):
        with pytest.raises(UsageError, match=word):
            open_input(str(tmp_path / name))


class Pieces(io.BufferedIOBase):
    """A stream that gives out these pieces, one a read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def read1(self, size: int = -1, /) -> bytes:
        return next(self._pieces, b"")


def test_a_streams_tasks_come_with_the_read_that_ends_their_lines() -> None:
    pieces = [b"1\n2\n", b'"thr', b"ee", b'"\n\n{"key": "four"}\n5', b"5"]
    found = [[(task.seq, task.key, task.input) for task in batch] for batch in batches_of_stream(Pieces(pieces), "f")]
    assert found == [
        [(1, "1", b"1"), (2, "2", b"2")],
        [(3, "3", b'"three"'), (5, "four", b'{"key": "four"}')],
        [(6, "6", b"55")],
    ]


def test_a_streams_batches_have_a_bound_and_its_lines_their_numbers() -> None:
    found = list(batches_of_stream(Pieces([b"0\n" * (2 * BATCH + 1)]), "f"))
    assert [len(batch) for batch in found] == [BATCH, BATCH, 1]
    assert found[-1][0].seq == 2 * BATCH + 1


def test_a_line_of_a_stream_that_is_no_task_comes_behind_those_before_it() -> None:
    reading = batches_of_stream(Pieces([b"1\n2\n", b"3\noops\n"]), "f")
    assert [task.seq for batch in (next(reading), next(reading)) for task in batch] == [1, 2, 3]
    with pytest.raises(UsageError, match="f, line 4"):
        next(reading)


def test_a_line_of_a_stream_that_never_ends_is_refused_and_not_kept() -> None:
    piece = b"0" * (MAX_VALUE // 4)
    with pytest.raises(UsageError, match=r"f, line 2: .* MiB"):
        list(batches_of_stream(Pieces([b"1\n", *[piece] * 1000]), "f"))


def test_a_field_may_hold_the_priority() -> None:
    lines = [b'{"p": 3}', b'{"p": -1}', b'{"q": 9}', b"7", b'{"p": 0, "key": "x"}']
    assert [task.priority for task in parse(lines, "f", priority_field="p")] == [3, -1, 0, 0, 0]
    assert [task.priority for task in parse(lines, "f")] == [0] * 5


@pytest.mark.parametrize("bad", ['"high"', "1.5", "true", "null", "99999999999999999999"])
def test_a_priority_that_is_none_is_refused_with_its_line(bad: str) -> None:
    with pytest.raises(UsageError, match=r'f, line 2: "p" must be a whole number'):
        list(parse([b"{}", b'{"p": %s}' % bad.encode()], "f", priority_field="p"))
