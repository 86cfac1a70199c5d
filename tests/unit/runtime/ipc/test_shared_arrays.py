"""Arrays travel by where they are; what arrives is what was sent."""

import itertools
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.ipc import pickling
from runtime.ipc.shared_arrays import (
    Way,
    append_array,
    array_reducer,
    choose_way,
    contiguous,
    open_array,
    read_array,
    span,
)
from runtime.ipc.shared_memory import Segment


class _Shelf:
    """Share arrays as a caller does, and keep what is shared."""

    def __init__(self, mode: str = "r") -> None:
        self.mode = mode
        self.segments: list[Segment] = []

    def share(self, array: Any) -> Any:
        layout, flat = contiguous(array)
        segment = Segment()
        segment.fill(memoryview(flat), is_final=self.mode != "r+")
        self.segments.append(segment)
        return open_array, (segment.place, layout, self.mode)

    def travel(self, value: Any, least: int | None = 0, *, is_result: bool = False) -> Any:
        return pickling.load(pickling.dump(value, array_reducer(least, self.share, is_result=is_result)))


def _assert_same(arrived: Any, sent: Any) -> None:
    assert arrived.dtype == sent.dtype
    assert arrived.shape == sent.shape
    assert arrived.tobytes() == sent.tobytes()


@pytest.mark.parametrize(
    ("size", "least", "has_objects", "is_mapped_file", "way"),
    [
        (11, 10, False, False, Way.SHARED),
        (10, 10, False, False, Way.PICKLED),
        (11, None, False, False, Way.PICKLED),
        (11, 10, True, False, Way.PICKLED),
        (11, None, False, True, Way.BY_FILE),
        (1, 10, False, True, Way.BY_FILE),
        (11, 10, True, True, Way.PICKLED),
    ],
)
def test_which_way(size: int, least: int | None, has_objects: bool, is_mapped_file: bool, way: Way) -> None:
    assert choose_way(size, least, has_objects=has_objects, is_mapped_file=is_mapped_file) is way


@pytest.mark.parametrize(
    ("shape", "strides", "expected"),
    [
        ((3,), (8,), (0, 24)),
        ((3,), (-8,), (16, 8)),
        ((2, 3), (24, -8), (16, 32)),
        ((), (), (0, 8)),
        ((4,), (0,), (0, 8)),
    ],
)
def test_span(shape: tuple[int, ...], strides: tuple[int, ...], expected: tuple[int, int]) -> None:
    assert span(shape, strides, 8) == expected


ARRAYS = {
    "rows": np.arange(24.0).reshape(4, 6),
    "columns": np.asfortranarray(np.arange(24.0).reshape(4, 6)),
    "three axes, fortran": np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
    "gaps": np.arange(24.0).reshape(4, 6)[:, ::2],
    "backwards": np.arange(24.0)[::-1],
    "booleans": np.array([True, False]),
    "dates": np.array(["2026-11-27", "NaT"], dtype="M8[D]"),
    "text": np.array(["a", "äöü"]),
    "records": np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i4"), ("b", "f8")]),
    "big endian": np.arange(5, dtype=">u2"),
    "one number": np.array(7.5),
    "read-only": np.frombuffer(b"12345678", dtype="u2"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_all_arrays_arrive(name: str) -> None:
    shelf = _Shelf()
    arrived = shelf.travel(ARRAYS[name])
    _assert_same(arrived, ARRAYS[name])
    assert isinstance(arrived, np.memmap)
    assert len(shelf.segments) == 1


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    step=st.lists(st.sampled_from([1, 2, -1, -2]), min_size=3, max_size=3),
    axes=st.randoms(use_true_random=False),
)
def test_any_view_arrives(shape: list[int], step: list[int], axes: Any) -> None:
    order = list(range(len(shape)))
    axes.shuffle(order)
    whole = np.arange(np.prod(shape)).reshape(shape).transpose(order)
    view = whole[tuple(slice(None, None, by) for by in step[: len(shape)])]
    _assert_same(_Shelf().travel(view), view)


@pytest.mark.parametrize(("mode", "writes"), [("r", False), ("c", True), ("r+", True)])
def test_modes(mode: str, writes: bool) -> None:
    shelf = _Shelf(mode)
    arrived = shelf.travel(np.zeros(4))
    assert arrived.mode == mode
    assert arrived.flags.writeable is writes
    if writes:
        arrived[0] = 1
    again = open_array(*_place(shelf.segments[0], np.zeros(4)), "r")
    assert again[0] == (1 if mode == "r+" else 0)


def _place(segment: Segment, like: Any) -> tuple[Any, Any]:
    return segment.place, contiguous(like)[0]


def test_small_arrays_objects_and_subclasses_are_pickled() -> None:
    shelf = _Shelf()
    masked = np.ma.masked_array([1, 2], [False, True])
    value = [np.zeros(2), np.array([object, "a"]), masked, "text"]
    arrived = shelf.travel(value, least=1000)
    assert shelf.segments == []
    assert [type(item) for item in arrived] == [type(item) for item in value]
    assert arrived[1].tolist() == [object, "a"]
    assert arrived[2].tolist() == [1, None]


def test_arrays_inside_of_objects_are_found() -> None:
    pandas = pytest.importorskip("pandas")
    shelf = _Shelf()
    frame = pandas.DataFrame({"a": np.arange(1000.0), "b": np.arange(1000.0)})
    pandas.testing.assert_frame_equal(shelf.travel(frame, least=1000), frame)
    assert shelf.segments


def test_an_array_twice_in_a_value_is_one_array() -> None:
    array = np.zeros(3)
    shelf = _Shelf()
    left, right = shelf.travel([array, array])
    assert left is right
    assert len(shelf.segments) == 1


def test_what_is_refused_is_pickled() -> None:
    array = np.arange(5)
    arrived = pickling.load(pickling.dump(array, array_reducer(0, lambda _: NotImplemented, is_result=False)))
    _assert_same(arrived, array)
    assert type(arrived) is np.ndarray


# -- files ------------------------------------------------------------------------------------------


def _map(tmp_path: Path) -> Any:
    path = tmp_path / "array"
    written = np.memmap(path, "f8", "w+", shape=(6, 4))
    written[:] = np.arange(24.0).reshape(6, 4)
    written.flush()
    return np.memmap(path, "f8", "r", shape=(6, 4))


VIEWS: dict[str, Any] = {
    "whole": lambda array: array,
    "rows": lambda array: array[2:5],
    "gaps": lambda array: array[::2, 1:3],
    "backwards": lambda array: array[::-1, ::-2],
    "turned": lambda array: array.T,
    "plain view": lambda array: np.asarray(array)[1:],
}


@pytest.mark.parametrize("name", VIEWS)
def test_what_maps_a_file_travels_as_its_path(tmp_path: Path, name: str) -> None:
    shelf, mapped = _Shelf(), _map(tmp_path)
    view = VIEWS[name](mapped)
    arrived = shelf.travel(view)
    _assert_same(arrived, view)
    assert shelf.segments == []
    assert (arrived.filename, arrived.mode) == (str(mapped.filename), "r")
    _assert_same(shelf.travel(arrived), view)  # and on to the next process
    assert shelf.segments == []


def test_writes_reach_the_file(tmp_path: Path) -> None:
    ours = np.memmap(tmp_path / "array", "i8", "w+", shape=(3,))
    theirs = _Shelf().travel(ours)
    theirs[1] = 5
    assert ours.tolist() == [0, 5, 0]


@pytest.mark.parametrize("lost", ["deleted", "private"])
def test_what_a_file_does_not_say_travels_as_data(tmp_path: Path, lost: str) -> None:
    """A deleted file cannot be opened; and private changes are in no file."""
    mapped = _map(tmp_path)
    if lost == "deleted":
        os.unlink(mapped.filename)
        array = mapped
    else:
        array = np.memmap(mapped.filename, "f8", "c", shape=(6, 4))
        array[0, 0] = -1.0
    shelf = _Shelf()
    _assert_same(shelf.travel(array), array)
    assert len(shelf.segments) == 1
    pickled = shelf.travel(array, least=None)
    _assert_same(pickled, array)
    assert type(pickled) is np.ndarray


# -- results ----------------------------------------------------------------------------------------


def test_results_are_appended_and_read_as_the_readers_own() -> None:
    segment = Segment()
    arrays = [np.arange(1000.0), np.asfortranarray(np.ones((50, 3), "u1")), np.array([(1, 2.0)], "i4,f8")]
    reductions = [append_array(segment.place, array) for array in arrays]
    for (read, arguments), array in zip([reduction for reduction, _ in reductions], arrays, strict=True):
        arrived = read(*pickle.loads(pickle.dumps(arguments)))
        assert read is read_array
        _assert_same(arrived, array)
        assert arrived.flags.writeable
        assert arrived.flags.f_contiguous == array.flags.f_contiguous
    ranges = [written for _, written in reductions]
    assert all(before.stop <= behind.start for before, behind in itertools.pairwise(ranges))


def test_a_result_that_is_an_argument_is_a_copy() -> None:
    """What the caller shares for a task ends with it."""
    shelf = _Shelf()
    argument = shelf.travel(np.arange(100))
    result = shelf.travel(argument, least=None, is_result=True)
    _assert_same(result, argument)
    assert type(result) is np.ndarray
    assert result.flags.writeable
