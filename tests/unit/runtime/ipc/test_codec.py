"""Values that travel, and those that cannot."""

from __future__ import annotations

import importlib
import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from multiprocess import Pipe

from runtime.errors import DecodeError, ResultError
from runtime.ipc import codec
from tests.support.kinds import is_same
from tests.support.values import PLAIN_VALUES, VALUES


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None]}, (1, 2), {1: "one"}, {1, 2}, b"bytes", float("inf"), 1 << 70])
def test_an_input_comes_back_as_exactly_what_it_was(value: Any) -> None:
    back = codec.decode(*codec.encode(value))
    assert back == value
    assert type(back) is type(value)


@given(VALUES)
def test_what_comes_out_is_what_went_in_type_and_value_at_any_depth(value: Any) -> None:
    """Inputs, results and snapshots go through these two."""
    data, encoding, _ = codec.encode_for_readers(value)
    assert is_same(codec.decode(data, encoding), value)
    assert is_same(codec.decode(*codec.encode(value)), value)


@given(PLAIN_VALUES)
def test_what_json_carries_exactly_is_json(value: Any) -> None:
    data, encoding, projection = codec.encode_for_readers(value)
    assert (encoding, projection) == (codec.JSON, None)
    assert is_same(json.loads(data), value)


def test_a_value_that_contains_itself_comes_back() -> None:
    cycle: list[Any] = []
    cycle.extend([cycle, cycle])
    back = codec.decode(*codec.encode(cycle))
    assert back[0] is back
    assert back[1] is back


def test_what_cannot_be_read_says_of_what_type_it_is_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vanishing.py").write_text("class Order: ...")
    monkeypatch.syspath_prepend(tmp_path)
    data, encoding = codec.encode(importlib.import_module("vanishing").Order())
    del sys.modules["vanishing"]  # for good: monkeypatch would put it back, and other tests could read it
    (tmp_path / "vanishing.py").unlink()
    importlib.invalidate_caches()
    with pytest.raises(DecodeError, match=r"of type vanishing.Order \(ModuleNotFoundError: .*'vanishing'"):
        codec.decode(data, encoding)
    for garbage, said in ((b"{", "json"), (b"\x80", codec.BLOB), (b"?", "invalid")):
        with pytest.raises(DecodeError):
            codec.decode(garbage, said)


def test_a_class_by_value_is_one_class_and_keeps_what_was_set_on_it() -> None:
    class Local:
        count = 0

    def made() -> type[Any]:
        return Local

    pickled = codec.encode_blob((made, Local()))
    Local.count = 5
    function, item = codec.decode(pickled, codec.BLOB)
    assert type(item) is Local
    assert function() is Local
    assert Local.count == 5


def test_a_memoryview_comes_back_as_one() -> None:
    back = codec.decode(*codec.encode(memoryview(b"abcdef").cast("B", (2, 3))))
    assert (type(back), back.shape, back.tobytes(), back.readonly) == (memoryview, (2, 3), b"abcdef", True)


def test_an_open_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w+") as file, pytest.raises(ResultError, match="would not outlive"):
        codec.encode(file)


def test_a_lambda_travels_with_what_it_closes_over() -> None:
    factor = 3
    assert codec.decode(codec.encode_blob(lambda x: x * factor), codec.BLOB)(2) == 6


@pytest.mark.parametrize("deep", [False, True])
def test_a_socket_is_refused_and_nobody_begins_to_serve_it(deep: bool) -> None:
    before = threading.active_count()
    with socket.socket() as ours, pytest.raises(ResultError, match=r"neither JSON nor pickled: .*'socket'") as refused:
        codec.encode_for_readers({"deep": [ours]} if deep else ours)
    assert "\n" not in str(refused.value)
    assert threading.active_count() == before


def test_a_connection_is_refused() -> None:
    here, there = Pipe()
    with here, there, pytest.raises(ResultError, match="'Connection'"):
        codec.encode(here)
