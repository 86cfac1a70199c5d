"""Each format: which inputs it makes of bytes, however these arrive, and what is said of bytes that are none."""

from __future__ import annotations

import io
import itertools
import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.inputs.entries import Entry, InvalidInputError
from orchestrator.cli.inputs.formats import READERS, InputFormat, format_of_json, format_of_name
from runtime.errors import UsageError


class Pieces(io.BufferedIOBase):
    """A stream that gives out these pieces, one a read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def read1(self, size: int = -1, /) -> bytes:
        return next(self._pieces, b"")


def entries(form: InputFormat, *pieces: bytes) -> Iterator[Entry]:
    stream = cast("BinaryIO", Pieces(pieces))
    return (entry for entry in READERS[form].read(stream) if entry is not None)


def read(form: InputFormat, *pieces: bytes) -> list[tuple[int, Any]]:
    found = list(entries(form, *pieces))
    assert all(json.loads(entry.data) == entry.value and b"\n" not in entry.data for entry in found)
    return [(entry.number, entry.value) for entry in found]


@pytest.mark.parametrize(
    ("form", "content", "expected"),
    [
        ("csv", b"a,b\n1,x\n", [(2, {"a": "1", "b": "x"})]),
        ("csv", b'\xef\xbb\xbfa,b\r\n"1\r\n2",x\r\n\r\n3,"y ""z"""', [
            (2, {"a": "1\r\n2", "b": "x"}), (5, {"a": "3", "b": 'y "z"'})]),
        ("csv", b"\n\na\n\nx\n", [(5, {"a": "x"})]),
        ("csv", "ä,b\nö,😀\n".encode(), [(2, {"ä": "ö", "b": "😀"})]),
        ("csv", b"a\n\0\n", [(2, {"a": "\0"})]),
        ("tsv", b'a\tb\n5" disk\tx,y\n', [(2, {"a": '5" disk', "b": "x,y"})]),
        ("lines", b"\xef\xbb\xbfone\r\n two \n\n \nthree", [(1, "one"), (2, " two "), (5, "three")]),
        ("nul", b"a\nb\0 \0\0c", [(1, "a\nb"), (2, " "), (4, "c")]),
        ("json", b"[]", []),
        ("json", b" \n[ ] \n", []),
        ("json", b'[1, "a,]\\"[", {"x": [1, {"y": 2}]},\n {\n"z":\n3}, [], null]\n', [
            (1, 1), (2, 'a,]"['), (3, {"x": [1, {"y": 2}]}), (4, {"z": 3}), (5, []), (6, None)]),
        ("json", b'\xef\xbb\xbf["\\\\"]', [(1, "\\")]),
    ],
)  # fmt: skip
def test_what_a_file_holds(form: InputFormat, content: bytes, expected: list[tuple[int, Any]]) -> None:
    form = InputFormat(form)
    assert read(form, content) == expected
    assert read(form, *(content[at : at + 1] for at in range(len(content)))) == expected


@pytest.mark.parametrize(
    ("form", "content", "number", "words"),
    [
        ("csv", b"a,b\n1,2\n3\n", 3, "this row has 1 field, and the header has 2"),
        ("csv", b"a,b\n1,2,3\n", 2, "3 fields"),
        ("csv", b'a,b\n1,2\n3,"x\n5,6\n', 3, "quote .* not closed"),
        ("csv", b'a,b\n"1"x,2\n', 2, "expected after"),
        ("csv", b"a,b\n1\r2,3\n", 2, "carriage return"),
        ("csv", b"a,b,a\n1,2,3\n", 1, "name 'a' twice"),
        ("csv", b"a\n\xe4\n", 2, "not UTF-8: byte 0xe4"),
        ("csv", "a\n1\n".encode("utf-16"), 1, "UTF-16 text; .*iconv"),
        ("csv", b'a\n"' + b"x" * 17_000_000, 2, "more than 16777216 characters"),
        ("lines", b"fine\n\xff\xfex\n", 2, "UTF-16"),
        ("lines", b"fine\nab\xff\n", 2, "not UTF-8"),
        ("nul", b"fine\0\x80", 2, "not UTF-8"),
        ("json", b'[1, {"a": 2}', 2, "without its closing bracket"),
        ("json", b"[1, 2", 2, "without its closing bracket"),
        ("json", b'[1, "x', 2, "without its closing bracket"),
        ("json", b"[", 1, "without its closing bracket"),
        ("json", b"[1,, 2]", 2, "missing"),
        ("json", b"[1, 2,]", 3, "missing"),
        ("json", b"[1 2]", 1, "not JSON"),
        ("json", b"[1, {]}]", 2, "not JSON"),
        ("json", b"[1] [2]", 1, "--input-format jsonl"),
        ("json", b"[1]\n[2]", 1, "--input-format jsonl"),
        ("json", b'{"a": 1}', 1, "no JSON array"),
        ("json", '["a"]'.encode("utf-16"), 1, "UTF-16"),
        ("json", b'["\xff"]', 1, "not JSON"),
    ],
)
def test_what_is_none_is_named_behind_what_is_one(form: str, content: bytes, number: int, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words) as caught:
        read(InputFormat(form), content)
    assert caught.value.number == number
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    found: list[int] = []
    with pytest.raises(InvalidInputError):
        found.extend(entry.number for entry in entries(InputFormat(form), content))
    assert found == sorted(found)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(VALUES, max_size=5), st.sampled_from([None, 1]), st.lists(st.integers(0, 300), max_size=4))
def test_an_array_is_the_same_wherever_it_is_cut(values: list[Any], indent: int | None, cuts: list[int]) -> None:
    document = json.dumps(values, indent=indent).encode()
    places = [0, *sorted(min(cut, len(document)) for cut in cuts), len(document)]
    pieces = [document[a:b] for a, b in itertools.pairwise(places) if a < b]
    assert read(InputFormat.JSON, *pieces) == list(enumerate(values, 1))


@pytest.mark.parametrize(
    ("form", "pieces"),
    [
        ("csv", [b"a\n1\n", b"2\n\n", b'"3', b'"\n']),
        ("lines", [b"1\n", b"2\n\n", b"3", b"\n"]),
        ("nul", [b"1\0", b"2\0\0", b"3", b"\0"]),
        ("json", [b"[1,", b"2 ,\n", b"3", b",4]"]),
    ],
)
def test_what_has_come_is_handed_in_before_the_next_wait(form: str, pieces: list[bytes]) -> None:
    """The reader says that it waits (None) behind each input, before it reads the piece that follows."""
    waiting = 0

    def give() -> Iterator[bytes]:
        nonlocal waiting
        for piece in pieces:
            yield piece
            waiting += 1

    seen = [waiting for entry in READERS[InputFormat(form)].read(cast("BinaryIO", Pieces(give()))) if entry is not None]
    assert seen == [0, 1, 3, *([3] if form == "json" else [])]


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"id": [1, 2, 3], "text": ["a", None, "ü"], "list": [[1.5], [], None], "bytes": [b"\xff", b"", None]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet", row_group_size=2)
    with (tmp_path / "a.parquet").open("rb") as file:
        found = [entry for entry in READERS[InputFormat.PARQUET].read(file) if entry is not None]
    assert [entry.number for entry in found] == [1, 2, 3]
    assert found[0].value == {"id": 1, "text": "a", "list": [1.5], "bytes": "/w=="}
    assert json.loads(found[1].data) == {"id": 2, "text": None, "list": [], "bytes": ""}
    whole = (tmp_path / "a.parquet").read_bytes()
    for broken in (b"", b"PAR1", whole[:-20], b"id,text\n1,2\n"):
        with pytest.raises(InvalidInputError, match="not Parquet"):
            list(READERS[InputFormat.PARQUET].read(io.BytesIO(broken)))


def test_parquet_without_pyarrow_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("orchestrator.cli.inputs.parquet.importlib.import_module", fail)
    with pytest.raises(UsageError, match=r"reading Parquet needs pyarrow: pip install 'quiesce\[parquet\]'"):
        list(READERS[InputFormat.PARQUET].read(io.BytesIO(b"")))


def test_the_extension_chooses() -> None:
    names = ["a.csv", "a.CSV", "a.tsv", "a.tab", "a.json", "a.jsonl", "a.ndjson", "a.txt", "a.pq", "a", "a.b", "-"]
    assert [str(format_of_name(name)) for name in names] == [
        *("csv", "csv", "tsv", "tsv", "json", "jsonl", "jsonl", "lines", "parquet", "jsonl", "jsonl", "jsonl")
    ]
    heads = {b" \n[1": "json", b"\xef\xbb\xbf[": "json", b"": "jsonl", b'{"a": 1}\n': "jsonl", b"7": "jsonl"}
    assert {head: str(format_of_json(head)) for head in heads} == heads


def rows_csv(count: int) -> bytes:
    return b"id,text\n" + b"".join(b'%d,"%s"\n' % (number, b"x" * 100) for number in range(count))


def rows_json(count: int) -> bytes:
    return json.dumps([{"id": number, "text": "x" * 100} for number in range(count)]).encode()


def lines_of(count: int) -> bytes:
    return b"".join(b"%d %s\n" % (number, b"x" * 100) for number in range(count))


@pytest.mark.parametrize(
    ("form", "make"), [("csv", rows_csv), ("json", rows_json), ("lines", lines_of)], ids=["csv", "json", "lines"]
)
def test_many_inputs_are_never_in_memory_together(tmp_path: Path, form: str, make: Callable[[int], bytes]) -> None:
    path = tmp_path / "many"
    path.write_bytes(make(20_000))
    with path.open("rb") as file:
        tracemalloc.start()
        try:
            count = sum(entry is not None for entry in READERS[InputFormat(form)].read(file))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert count == 20_000
    assert peak < path.stat().st_size / 3  # a few times what is read at once
